"""Words as tokens."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from experiments.record.errors import UserError
from experiments.text import vocabulary, word_counts

LINE_END = "<eos>"
MAX_LENGTH = 1 << 20  # of a word


class Words(vocabulary.Listed):
    """Each word between white space is a token, and each line end the token `<eos>`."""

    noun = "words"

    def __init__(self, entries: list[str]):
        super().__init__(entries)
        self._numbers = {word: number for number, word in enumerate(entries)}

    def encode(self, pieces: Iterable[str]) -> Iterator[tuple[np.ndarray, int]]:
        """The tokens, and how many of them are `<unk>` for a word not in the vocabulary."""
        missing = len(self.vocabulary)
        for words in split(pieces):
            found = map(self._numbers.get, words, itertools.repeat(missing))
            tokens = np.fromiter(found, np.uint32, len(words))
            unknown = tokens == missing
            tokens[unknown] = self._numbers[vocabulary.UNKNOWN]
            yield tokens, int(np.count_nonzero(unknown))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text: words with a space between them, in lines."""
        lines: list[list[str]] = [[]]
        for word in map(self.vocabulary.__getitem__, tokens):
            if word == LINE_END:
                lines.append([])
            else:
                lines[-1].append(word)
        return "\n".join(map(" ".join, lines))


def fit(pieces: Iterable[str], vocab_size: int | None, min_count: int) -> Words:
    """The words of a training text; see `vocabulary.choose`."""
    return Words(vocabulary.choose(word_counts.count(split(pieces)), min_count, vocab_size))


def split(pieces: Iterable[str]) -> Iterator[list[str]]:
    """The words of a text, wherever its pieces are cut.

    Raises:
      UserError: a word has more than `MAX_LENGTH` characters.
    """
    rest = ""
    for piece in pieces:
        text = rest + piece
        words = text.replace("\n", f" {LINE_END} ").split()
        rest = words.pop() if words and not text[-1].isspace() else ""
        if len(rest) > MAX_LENGTH:
            raise UserError(
                f"the text has a word of more than {MAX_LENGTH:,} characters, from "
                f"{rest[:20]!r} on; take --tokens=char or --tokens=bpe."
            )
        yield words
    yield [rest] if rest else []
