"""Which words or characters become entries of a vocabulary, the rest being `<unk>`."""

import heapq
import json
from collections.abc import Iterable
from typing import Self

from experiments.record.errors import UserError

UNKNOWN = "<unk>"
MAX_SIZE = 1 << 20


class Listed:
    """A tokenizer that is its list of entries."""

    def __init__(self, entries: list[str]):
        self.vocabulary = entries

    def to_json(self) -> str:
        """The entries in their order."""
        return json.dumps(self.vocabulary, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` gave."""
        return cls(json.loads(text))


def choose(
    counts: Iterable[tuple[str, int]], min_count: int = 1, size: int | None = None
) -> list[str]:
    """The entries of a vocabulary, the most frequent first, then in the order of code points.

    `<unk>` is always one of them, and counts as often as all that it stands for.

    Args:
      counts: the training text's words or characters, each once, with their numbers, in any order.
      min_count: how often an entry occurs at least.
      size: upper bound of the number of entries, `<unk>` included.

    Raises:
      UserError: more than `MAX_SIZE` entries, and no `size`; or none but `<unk>`.
    """
    num_tokens = 0

    def frequent():
        nonlocal num_tokens
        for entry, count in counts:
            num_tokens += count
            if count >= min_count and entry != UNKNOWN:
                yield -count, entry

    most = (size or MAX_SIZE) - 1
    entries = heapq.nsmallest(most + 1, frequent())
    if size is None and len(entries) > most:
        raise UserError(
            f"the training text has more than {MAX_SIZE:,} words; bound them by --vocab_size or "
            "--min_count, or take --tokens=bpe."
        )
    if not entries:
        raise UserError(
            f"nothing in the training text occurs {min_count:,} times, so that all of it would be "
            f"{UNKNOWN}; lower --min_count."
        )
    del entries[most:]
    num_known = -sum(count for count, _ in entries)
    entries.append((num_known - num_tokens, UNKNOWN))
    return [entry for _, entry in sorted(entries)]
