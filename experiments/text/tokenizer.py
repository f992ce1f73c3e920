"""What a token is: a word, a character, or bytes that often stand together."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from experiments.record.errors import UserError
from experiments.record.files import replace
from experiments.text import byte_pairs, characters, words

CLASSES = {
    "word": words.Words,
    "char": characters.Characters,
    "bpe": byte_pairs.BytePairs,
}
FILES = {"word": "vocab.json", "char": "vocab.json", "bpe": "tokenizer.json"}
LEAST_SIZES = {"word": 2, "char": 2, "bpe": 256}  # <unk> and another; all bytes


class TokenizerSettings(NamedTuple):
    """What the tokens of a text depend on, beside the text."""

    kind: str = "word"
    vocab_size: int | None = None  # an upper bound; None for the kind's default
    min_count: int = 1


class Tokenizer(Protocol):
    """A vocabulary, which encodes and decodes text."""

    vocabulary: list[str]  # [V]

    @property
    def noun(self) -> str:
        """What the entries are."""
        ...

    def encode(self, pieces: Iterable[str]) -> Iterator[tuple[np.ndarray, int]]:
        """Tokens in 0..V-1 of a text in pieces, and how many of them became `<unk>`."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """Tokens as text."""
        ...

    def to_json(self) -> str:
        """All that it takes to make this again."""
        ...


def settings(kind: str, vocab_size: int | None, min_count: int) -> TokenizerSettings:
    """Settings that go together.

    Raises:
      UserError: they do not.
    """
    if kind == "bpe" and min_count > 1:
        raise UserError("--min_count is for --tokens=word and char; bpe has no unknown tokens.")
    if vocab_size is not None and vocab_size < LEAST_SIZES[kind]:
        raise UserError(
            f"--vocab_size={vocab_size} is too small: --tokens={kind} needs {LEAST_SIZES[kind]}."
        )
    return TokenizerSettings(kind, vocab_size, min_count)


def fit(settings: TokenizerSettings, pieces: Iterable[str], num_bytes: int) -> Tokenizer:
    """The tokenizer of a training text that has `num_bytes` in UTF-8."""
    kind, vocab_size, min_count = settings
    if kind == "bpe":
        return byte_pairs.fit(pieces, num_bytes, vocab_size)
    fit = {"word": words.fit, "char": characters.fit}[kind]
    return fit(pieces, vocab_size, min_count)


def md5(tokenizer: Tokenizer) -> str:
    """Of all that `tokenizer` encodes with."""
    return hashlib.md5(tokenizer.to_json().encode(), usedforsecurity=False).hexdigest()


def save(tokenizer: Tokenizer, kind: str, folder: Path) -> None:
    """Writes vocab.json or, for bpe, tokenizer.json."""
    replace(folder / FILES[kind], tokenizer.to_json())


def load(kind: str, folder: Path) -> Tokenizer:
    """Reads what `save` wrote.

    Raises:
      UserError: the file is missing or damaged.
    """
    path = folder / FILES[kind]
    try:
        return CLASSES[kind].from_json(path.read_text(encoding="utf-8"))
    except Exception as error:  # the tokenizers library has no other
        raise UserError(f"{path} is missing or damaged ({type(error).__name__}).") from error
