"""Exact counts of the words of a text that may have more distinct words than memory holds."""

import contextlib
import heapq
import itertools
import operator
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import IO

IN_MEMORY = 1 << 20  # distinct words


def count(words: Iterable[list[str]]) -> Iterator[tuple[str, int]]:
    """Each distinct word with its number, in any order.

    Where there are more than `IN_MEMORY`, the counts so far go into a file, sorted by word, and the
    files are merged at the end.

    Args:
      words: the words, list by list; none has white space.
    """
    counts, word = Counter(), operator.itemgetter(0)
    with contextlib.ExitStack() as stack:
        files = []
        for each in words:
            counts.update(each)
            if len(counts) > IN_MEMORY:
                scratch = tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n")  # noqa: SIM115
                files.append(stack.enter_context(scratch))
                _write(files[-1], counts)
                counts.clear()
        if not files:
            yield from counts.items()
            return
        merged = heapq.merge(sorted(counts.items()), *map(_read, files))
        for found, same in itertools.groupby(merged, word):
            yield found, sum(number for _, number in same)


def _write(file: IO[str], counts: Counter[str]) -> None:
    file.writelines(f"{word} {number}\n" for word, number in sorted(counts.items()))
    file.seek(0)


def _read(file: IO[str]) -> Iterator[tuple[str, int]]:
    for line in file:
        word, number = line.split(" ")
        yield word, int(number)
