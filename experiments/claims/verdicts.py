"""When a difference counts, and what is a claim's verdict."""

import collections
import math
from collections.abc import Sequence
from typing import NamedTuple

HOLDS, REVERSED, UNDECIDED = "holds", "the opposite holds", "undecided"
NOT = "does not hold"
MORE_OFTEN = "more often"  # where as often is claimed


class Finding(NamedTuple):
    """A claim in one case, such as at one learning rate, and its verdict."""

    claim: str
    case: str
    article: str  # empty where the article says nothing
    here: tuple[str, ...]  # what was found, in pieces
    verdict: str


def threshold(spread: float, seeds: int) -> float:
    """The size that a difference of two means over so many seeds must exceed.

    Twice the standard deviation between seeds, and twice the standard error of the difference,
    √(2 / n) of it, which is larger for one seed.
    """
    return 2.0 * spread * max(1.0, math.sqrt(2.0 / seeds))


def decide(gain: float, limit: float) -> str:
    """A claimed gain holds, or its opposite, where it exceeds the limit."""
    if not abs(gain) > limit:
        return UNDECIDED
    return HOLDS if gain > 0.0 else REVERSED


def as_well(excess: float, limit: float, margin: float) -> str:
    """Whether a loss is as good as another, which it exceeds by `excess`, give or take `limit`.

    It is where the excess is below the margin, noise included, and is not where it is beyond the
    noise.
    """
    if excess + limit < margin:
        return HOLDS
    return NOT if excess - limit > 0.0 else UNDECIDED


def overall(verdicts: Sequence[str]) -> str:
    """The verdict of several comparisons together: theirs, where they agree."""
    if not verdicts:
        raise ValueError("overall: there must be a verdict, got none.")
    counts = collections.Counter(verdicts).most_common()
    if len(counts) == 1:
        return verdicts[0]
    return ", ".join(f"{verdict} in {count}" for verdict, count in counts)
