"""Characters as tokens."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from experiments.text import vocabulary

NUM_CODE_POINTS = 0x110000


class Characters(vocabulary.Listed):
    """Each character is a token, a line end too."""

    noun = "characters"

    def __init__(self, entries: list[str]):
        super().__init__(entries)
        self._numbers = np.full(NUM_CODE_POINTS, len(entries), np.uint32)
        for number, entry in enumerate(entries):
            if entry != vocabulary.UNKNOWN:
                self._numbers[ord(entry)] = number

    def encode(self, pieces: Iterable[str]) -> Iterator[tuple[np.ndarray, int]]:
        """The tokens, and how many of them are `<unk>` for a character not in the vocabulary."""
        for piece in pieces:
            tokens = self._numbers[_code_points(piece)]
            unknown = tokens == len(self.vocabulary)
            tokens[unknown] = self.vocabulary.index(vocabulary.UNKNOWN)
            yield tokens, int(np.count_nonzero(unknown))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text."""
        return "".join(self.vocabulary[number] for number in tokens)


def fit(pieces: Iterable[str], vocab_size: int | None, min_count: int) -> Characters:
    """The characters of a training text; see `vocabulary.choose`."""
    counts = np.zeros(NUM_CODE_POINTS, np.int64)
    for piece in pieces:
        counts += np.bincount(_code_points(piece), minlength=NUM_CODE_POINTS)
    found = ((chr(code), int(counts[code])) for code in np.flatnonzero(counts))
    return Characters(vocabulary.choose(found, min_count, vocab_size))


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)
