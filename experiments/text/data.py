"""Text as streams of tokens: Penn Treebank, own text, and the embedded text."""

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tokenizers

from experiments.record.errors import UserError
from experiments.record.files import cache_dir, user_path
from experiments.text import embedded, text_files, token_cache, tokenised
from experiments.text.text_files import Part
from experiments.text.token_file import TokenFile
from experiments.text.tokenised import Tokenised
from experiments.text.tokenizer import Tokenizer, TokenizerSettings

SPLITS: tuple[str, ...] = ("train", "valid", "test")
CORPORA = ("auto", "ptb", "embedded")
PTB = "Penn Treebank"  # in Mikolov's preparation
OWN = "own text"
PTB_MD5 = {
    "train": "f26c4b92c5fdc7b3f8c7cdcb991d8420",
    "valid": "aa0affc06ff7c36e977d7cd49e3839bf",
    "test": "8b80168b89c18661a38ef683c0dc3721",
}
CACHE_FORMAT = 2  # raised when the same text is to become other tokens
WORDS = TokenizerSettings()


class Corpus(NamedTuple):
    """Three streams of tokens in 0..V-1, [tokens] each, in memory or on disk."""

    name: str
    md5: dict[str, str]  # of each split's text, with \n for line ends
    tokenizer: Tokenizer
    train: np.ndarray | TokenFile
    valid: np.ndarray | TokenFile
    test: np.ndarray | TokenFile
    settings: TokenizerSettings = WORDS
    num_unknown: tuple[int, ...] = (0, 0, 0)  # tokens of each split that became <unk>
    path: Path | None = None  # where a text of the user's own comes from

    @property
    def vocabulary(self) -> list[str]:
        """V entries."""
        return self.tokenizer.vocabulary

    def __str__(self):
        sizes = (len(tokens) for tokens in (self.train, self.valid, self.test))
        name = f"text in {self.path}" if self.path else self.name
        text = f"{name}: {_each(sizes)} tokens (train/valid/test)"
        text += f", {len(self.vocabulary):,} {self.tokenizer.noun}"
        return text + (f"; {_each(self.num_unknown)} became <unk>" if any(self.num_unknown) else "")


def read_corpus(
    corpus: str,
    data_dir: str | os.PathLike | None = None,
    settings: TokenizerSettings = WORDS,
) -> Corpus:
    """Reads a corpus of three parts.

    Args:
      corpus: `ptb` reads the three files from `data_dir`, by default the user's cache folder;
        `embedded` takes the text that CPython bundles; `auto` takes the files where they are found
        or asked for by `data_dir`, and otherwise the embedded text.
      data_dir: folder with ptb.train.txt or train.txt and its siblings, or with the original
        archive's simple-examples/data.
      settings: what a token is.

    Raises:
      UserError: files missing, empty, or not text.
    """
    if corpus == "embedded":
        if data_dir is not None:
            raise UserError("--corpus=embedded reads no --data_dir; take --corpus=ptb for files.")
        return _embedded_corpus(settings)
    folder = user_path(str(data_dir)) if data_dir is not None else cache_dir() / "ptb"
    paths = find_splits(folder)
    if paths is None:
        if corpus == "auto" and data_dir is None:
            return _embedded_corpus(settings)
        raise UserError(
            f"no ptb.train.txt, ptb.valid.txt and ptb.test.txt (or train.txt ...) in {folder}; "
            "`python -m experiments.download_ptb` fetches them, --corpus=embedded needs none."
        )
    parts = {split: text_files.whole(path) for split, path in paths.items()}
    return _corpus_of_files(folder, parts, settings)


def read_text(path: Path, percent: list[Fraction], settings: TokenizerSettings) -> Corpus:
    """Reads one file, of which the parts are shares in its order.

    Args:
      path: the file.
      percent: of the training, validation and test part.
      settings: what a token is.

    Raises:
      UserError: the file is missing, empty, not text, or too short to be split.
    """
    parts = dict(zip(SPLITS, text_files.split(path, percent), strict=True))
    return _corpus_of_files(path, parts, settings)


def find_splits(folder: Path) -> dict[str, Path] | None:
    """The paths of the three splits in `folder` or in an unpacked archive below it."""
    for place in (folder, folder / "data", folder / "simple-examples" / "data"):
        for prefix in ("ptb.", ""):
            paths = {split: place / f"{prefix}{split}.txt" for split in SPLITS}
            if all(path.exists() for path in paths.values()):
                return paths
    return None


def _embedded_corpus(settings: TokenizerSettings) -> Corpus:
    texts = embedded.texts()
    md5 = {split: text_files.digest([text])[0] for split, text in texts.items()}
    return _corpus(embedded.name(), md5, tokenised.in_memory(texts, settings), settings)


def _corpus_of_files(path: Path, parts: dict[str, Part], settings: TokenizerSettings) -> Corpus:
    """The parts' tokens, from the cache where the same texts were once made into such tokens."""
    digests = {split: text_files.digest(part.pieces("reading")) for split, part in parts.items()}
    for split, (_, num_bytes) in digests.items():
        if not num_bytes:
            raise UserError(f"the {split} text is empty ({parts[split].path}).")
    md5 = {split: digest for split, (digest, _) in digests.items()}
    key = {"format": CACHE_FORMAT, "md5": md5, "tokens": settings}
    if settings.kind == "bpe":
        key |= {"tokenizers": tokenizers.__version__}

    def build(folder: Path):
        pieces = {split: part.pieces for split, part in parts.items()}
        tokenised.write(folder, pieces, digests["train"][1], settings)

    folder = token_cache.folder(key, build, tokenised.is_whole)
    found = tokenised.read(folder, settings)
    if md5 == PTB_MD5:
        return _corpus(PTB, md5, found, settings)
    return _corpus(OWN, md5, found, settings)._replace(path=path)


def _corpus(
    name: str, md5: dict[str, str], found: Tokenised, settings: TokenizerSettings
) -> Corpus:
    for split in SPLITS:
        if not len(found.parts[split]):
            raise UserError(f"the {split} text has no {found.tokenizer.noun}.")
    train, valid, test = (found.parts[split] for split in SPLITS)
    num_unknown = tuple(found.num_unknown[split] for split in SPLITS)
    return Corpus(name, md5, found.tokenizer, train, valid, test, settings, num_unknown)


def _each(numbers: Iterable[int]) -> str:
    return " / ".join(f"{number:,}" for number in numbers)
