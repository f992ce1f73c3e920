"""A text cut into sequences, and these read a slice at a time."""

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from experiments.record.errors import UserError
from experiments.text.token_file import TokenFile

SLICE_TOKENS = 1 << 16  # in a slice at most, unless one sequence has more
Tokens = np.ndarray | TokenFile  # [tokens], in memory or on disk


class Slice(NamedTuple):
    """Consecutive sequences of a text; a last one of zeros may fill up the shape."""

    inputs: np.ndarray | jax.Array  # [n, T, B or own streams], int32, time before batch
    targets: np.ndarray | jax.Array  # the inputs' successors
    first: int | jax.Array = 0  # number of the first sequence in its text


class Sequences(NamedTuple):
    """A text as `batch_size` contiguous streams, cut into sequences of `seq_len` steps.

    Sequence i + 1 continues sequence i, so state can be carried; what does not fill a sequence is
    dropped, and the last token that is used is a target only.
    """

    tokens: Tokens
    batch_size: int  # B
    seq_len: int  # T
    own: slice = slice(None)  # the streams that are read: all, or one process's share

    @property
    def num(self) -> int:
        """S, how many sequences there are."""
        return num_sequences(len(self.tokens) // self.batch_size, self.seq_len)

    @property
    def num_tokens(self) -> int:
        """S·T·B, how many tokens are inputs."""
        return self.num * self.num_tokens_of_sequence

    @property
    def num_left_out(self) -> int:
        """How many tokens are no targets, but for the first, which cannot be one."""
        return len(self.tokens) - 1 - self.num_tokens

    @property
    def num_tokens_of_sequence(self) -> int:
        """T·B."""
        return self.seq_len * self.batch_size

    def read(self, start: int, stop: int, size: int | None = None) -> Slice:
        """The sequences start..stop-1, filled up by zeros to `size` where that is given."""
        length = len(self.tokens) // self.batch_size
        first, num_steps = start * self.seq_len, (stop - start) * self.seq_len
        numbers = range(self.batch_size)[self.own]
        starts = (first + number * length for number in numbers)
        streams = np.stack([self.tokens[at : at + num_steps + 1] for at in starts])
        shape = size or stop - start, self.seq_len, len(numbers)

        def cut(used):
            sequences = np.zeros(shape, np.int32)
            used = used.reshape(len(numbers), stop - start, self.seq_len)
            sequences[: stop - start] = used.transpose(1, 2, 0)
            return sequences

        return Slice(cut(streams[:, :-1]), cut(streams[:, 1:]), start)

    def slices(self, least: int = 1, position: int = 0) -> Iterator[tuple[Slice, int]]:
        """The sequences in slices of one shape, each beside its number of sequences.

        There are `least` slices, or fewer where there are not so many sequences, or more where one
        would have more than `SLICE_TOKENS` tokens. Each is read when it is asked for; those before
        `position`, where one of them ends, are left out.
        """
        largest = max(1, SLICE_TOKENS // (self.seq_len * self.batch_size))
        num_slices = min(self.num, max(least, math.ceil(self.num / largest)))
        bounds = np.linspace(0, self.num, num_slices + 1).round().astype(int).tolist()
        size = max(stop - start for start, stop in itertools.pairwise(bounds))
        for start, stop in itertools.pairwise(bounds):
            if start >= position:
                yield self.read(start, stop, size), stop - start


class EveryToken(Sequences):
    """The same, but every token after the first is a target, once; -1 is the target of none.

    The last sequence of each stream is filled up, and so is the last stream.
    """

    __slots__ = ()

    @property
    def length(self) -> int:
        """How many targets a stream has."""
        return -(-(len(self.tokens) - 1) // self.batch_size)

    @property
    def num(self) -> int:
        """S, how many sequences there are."""
        return -(-self.length // self.seq_len)

    @property
    def num_left_out(self) -> int:
        """None is."""
        return 0

    def read(self, start: int, stop: int, size: int | None = None) -> Slice:
        """The sequences start..stop-1, filled up to `size` where that is given."""
        numbers = range(self.batch_size)[self.own]
        shape = (size or stop - start) * self.seq_len, len(numbers)
        inputs, targets = np.zeros(shape, np.int32), np.full(shape, -1, np.int32)
        for at, stream in enumerate(numbers):
            first = stream * self.length + start * self.seq_len
            end = min((stream + 1) * self.length, len(self.tokens) - 1)
            num = max(min(end - first, (stop - start) * self.seq_len), 0)
            used = self.tokens[first : first + num + 1]
            inputs[:num, at], targets[:num, at] = used[:num], used[1 : num + 1]
        cut = lambda used: used.reshape(-1, self.seq_len, len(numbers))
        return Slice(cut(inputs), cut(targets), start)


def num_sequences(length: int, seq_len: int) -> int:
    """How many sequences a stream is cut into; the last token that they use is a target only."""
    return (length - 1) // seq_len


def sequences(tokens: Tokens, batch_size: int, seq_len: int, name: str) -> Sequences:
    """Cuts a text into sequences; `name` is the text's, for the error.

    Raises:
      UserError: there is not one sequence in the text.
    """
    found = Sequences(tokens, batch_size, seq_len)
    if found.num < 1:
        raise UserError(
            f"the {name} text has {len(tokens):,} tokens, too few for one sequence: "
            f"a batch of {batch_size} streams of {seq_len} + 1 tokens needs "
            f"{batch_size * (seq_len + 1):,}."
        )
    return found
