"""Byte-pair encoding: frequent sequences of bytes as tokens."""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

DEFAULT_SIZE = 8000
TRAINED_ON = 4 << 20  # bytes at most; all distinct, they take half a GB to train on
MAX_LINE = 1 << 14  # characters; longer lines are cut
MAX_WORD = 64  # bytes; merges inside of longer ones would take too long
REMEMBERED = 1 << 20  # characters of words whose tokens are remembered
LINES = re.compile(rf"[^\n]{{1,{MAX_LINE}}}\n?|\n")
WORDS = re.compile(r" ?\S+|\n|[^\S\n]+(?= \S)|[^\S\n]+")


class BytePairs:
    """Byte-level BPE of the `tokenizers` library: it encodes any text, and nothing is `<unk>`.

    Each word is encoded by itself, with the space before it.
    """

    noun = "byte-pair tokens"

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        numbers = tokenizer.get_vocab()
        self.vocabulary = sorted(numbers, key=numbers.__getitem__)

    def encode(self, pieces: Iterable[str]) -> Iterator[tuple[np.ndarray, int]]:
        """The tokens, and 0 for none that is `<unk>`."""
        known, size = {}, 0
        for block in lines(pieces):
            words = [*itertools.chain.from_iterable(map(WORDS.findall, block))]
            new = [*set(words).difference(known)]
            encoded = self._tokenizer.encode_batch_fast(new)
            known.update((word, each.ids) for word, each in zip(new, encoded, strict=True))
            tokens = itertools.chain.from_iterable(map(known.__getitem__, words))
            yield np.fromiter(tokens, np.uint32), 0
            size += sum(map(len, new))
            if size > REMEMBERED:
                known, size = {}, 0

    def decode(self, tokens: Sequence[int]) -> str:
        """The text; bytes that are not UTF-8 become U+FFFD."""
        return self._tokenizer.decode(tokens, skip_special_tokens=False)

    def to_json(self) -> str:
        """In the format of the `tokenizers` library."""
        return self._tokenizer.to_str()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` gave."""
        return cls(Tokenizer.from_str(text))


def fit(pieces: Iterable[str], num_bytes: int, vocab_size: int | None) -> BytePairs:
    """Byte pairs of a training text of `num_bytes`, from `TRAINED_ON` of them if there are more."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    short = pre_tokenizers.FixedLength(length=MAX_WORD)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([byte_level, short])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size or DEFAULT_SIZE,
        initial_alphabet=byte_level.alphabet(),
        show_progress=False,
    )
    every_line = itertools.chain.from_iterable(lines(pieces))
    drawn = evenly(every_line, num_bytes, TRAINED_ON)
    tokenizer.train_from_iterator(map(WORDS.findall, drawn), trainer)
    return BytePairs(tokenizer)


def lines(pieces: Iterable[str]) -> Iterator[list[str]]:
    """The lines of a text, cut after `MAX_LINE` characters, wherever its pieces are cut."""
    rest = ""
    for piece in pieces:
        found = LINES.findall(rest + piece)
        rest = found.pop() if found and not found[-1].endswith("\n") else ""
        yield found
    yield [rest] if rest else []


def evenly(lines: Iterable[str], num_bytes: int, limit: int) -> Iterator[str]:
    """Lines of at most `limit` bytes in all, drawn evenly from a text of `num_bytes`."""
    seen = drawn = 0
    for line in lines:
        size = len(line.encode())
        seen += size
        if (drawn + size) * num_bytes <= seen * limit:
            drawn += size
            yield line
