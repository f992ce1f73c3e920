"""When a difference counts, and a verdict's words: one rule for all claims over seeds.

A difference is a mean over seeds, paired where seeds are shared, with a standard error of so many
degrees of freedom. A claim of a difference holds where Student's t rejects no difference at `LEVEL`
(two-sided); a claim of "as good" holds where it rejects, one-sided, that the difference is as large
as a margin that was stated beforehand. Within a family of claims the p-values are Holm's. One seed
decides nothing.
"""

import collections
import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.05
MARGIN = 0.02  # nats per word: losses within it are equally good
HOLDS, REVERSED, UNDECIDED = "holds", "the opposite holds", "undecided"
NOT = "does not hold"
MORE_OFTEN = "more often"  # where as often is claimed
NO_VERDICT = "no verdict"  # of one seed


class Finding(NamedTuple):
    """A claim in one case, such as at one learning rate, and its verdict."""

    claim: str
    case: str
    article: str  # empty where the article says nothing
    here: tuple[str, ...]  # what was found, in pieces
    verdict: str


class Estimate(NamedTuple):
    """A difference over seeds."""

    mean: float
    standard_error: float = math.nan  # of the mean
    df: int = 0  # degrees of freedom; 0 for one seed

    @property
    def half_width(self) -> float:
        """Of its t interval at `LEVEL`; NaN for one seed."""
        return float(self.standard_error * stats.t.ppf(1.0 - LEVEL / 2.0, self.df))

    @property
    def p_none(self) -> float:
        """The p-value of no difference, two-sided."""
        return 2.0 * self._tail(abs(self.mean), 0.0)

    def p_below(self, limit: float) -> float:
        """The p-value of a difference of `limit` or more, one-sided: small where it is below."""
        return self._tail(limit, self.mean)

    def p_above(self, limit: float) -> float:
        """The p-value of a difference of `limit` or less, one-sided: small where it is above."""
        return self._tail(self.mean, limit)

    def p_within(self, margin: float) -> float:
        """The p-value of a difference of the size `margin` or more: two one-sided tests."""
        return max(self.p_below(margin), self.p_above(-margin))

    def p_beyond(self, margin: float) -> float:
        """The p-value of a difference of the size `margin` or less."""
        p = 2.0 * min(self.p_above(margin), self.p_below(-margin))
        return p if math.isnan(p) else min(1.0, p)

    def _tail(self, above, below):
        if not self.df:
            return math.nan
        distance = above - below
        if not self.standard_error:  # all seeds differ alike
            return 0.5 if not distance else float(distance < 0.0)
        return float(stats.t.sf(distance / self.standard_error, self.df))


def paired(differences: Sequence[float]) -> Estimate:
    """The mean of differences that are each of one seed."""
    mean, df = statistics.fmean(differences), len(differences) - 1
    if not df:
        return Estimate(mean)
    return Estimate(mean, statistics.stdev(differences) / math.sqrt(len(differences)), df)


class Noise(NamedTuple):
    """The variance of a paired difference that several kinds of runs have in common."""

    variance: float
    df: int  # degrees of freedom; 0 where there are too few seeds

    def of(self, differences: Sequence[float]) -> Estimate:
        """The mean of differences that are each of one seed."""
        mean = statistics.fmean(differences)
        if len(differences) == 1 or not self.df:
            return Estimate(mean)
        return Estimate(mean, math.sqrt(self.variance / len(differences)), self.df)


def noise(losses: Sequence[Mapping[int, float]]) -> Noise:
    """The residuals of losses, by seed for each kind, without the means of kinds and of seeds.

    For losses xᵢₛ of K kinds and the S seeds that all have, the variance of a paired difference is

        2 Σᵢₛ (xᵢₛ - x̄ᵢ - x̄ₛ + x̄)² / ((K - 1) (S - 1)),

    if the residuals of all kinds are independent and vary alike.
    """
    if len(losses) < 2:
        return Noise(math.nan, 0)
    seeds = sorted(set.intersection(*(set(each) for each in losses)))
    df = (len(losses) - 1) * (len(seeds) - 1)
    if df <= 0:
        return Noise(math.nan, 0)
    x = np.array([[each[seed] for seed in seeds] for each in losses])
    residuals = x - x.mean(1, keepdims=True) - x.mean(0) + x.mean()
    return Noise(float(2.0 * np.sum(residuals**2)) / df, df)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's p-values of a family, in its order; NaNs do not count."""
    tested = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    adjusted, least = [math.nan] * len(p_values), 0.0
    for rank, (p, i) in enumerate(tested):
        least = adjusted[i] = max(least, min(1.0, p * (len(tested) - rank)))
    return adjusted


def decide(gain: float, p: float) -> str:
    """A claimed gain, or its opposite, from the p-value of none."""
    if math.isnan(p):
        return NO_VERDICT
    if p >= LEVEL:
        return UNDECIDED
    return HOLDS if gain > 0.0 else REVERSED


def as_good(p_good: float, p_bad: float) -> str:
    """From the p-values that are small where a loss is surely as good, and surely is not."""
    if math.isnan(p_good):
        return NO_VERDICT
    return HOLDS if p_good < LEVEL else NOT if p_bad < LEVEL else UNDECIDED


def adjusted_p(estimates: Iterable[Estimate]) -> list[float]:
    """Holm's p-values of no difference, of a family."""
    return holm([estimate.p_none for estimate in estimates])


class Judged(NamedTuple):
    """A verdict about "as good", and Holm's p-value of the opposite."""

    verdict: str
    p: float


def below(estimates: Collection[Estimate], margin: float) -> list[Judged]:
    """Whether each difference of a family is less than the margin."""
    good = holm([estimate.p_below(margin) for estimate in estimates])
    bad = holm([estimate.p_above(margin) for estimate in estimates])
    return [Judged(as_good(*both), both[0]) for both in zip(good, bad, strict=True)]


def within(estimates: Collection[Estimate], margin: float) -> list[Judged]:
    """Whether the size of each difference of a family is less than the margin."""
    good = holm([estimate.p_within(margin) for estimate in estimates])
    bad = holm([estimate.p_beyond(margin) for estimate in estimates])
    return [Judged(as_good(*both), both[0]) for both in zip(good, bad, strict=True)]


def overall(verdicts: Sequence[str]) -> str:
    """The verdict of several comparisons together: theirs, where they agree."""
    if not verdicts:
        raise ValueError("overall: there must be a verdict, got none.")
    counts = collections.Counter(verdicts).most_common()
    if len(counts) == 1:
        return verdicts[0]
    return ", ".join(f"{verdict} in {count}" for verdict, count in counts)


def interval_text(estimate: Estimate, p: float) -> str:
    """A difference with half its t interval and its p-value, where it has several seeds."""
    if not estimate.df:
        return f"{estimate.mean:+z.3f}"
    said = "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
    return f"{estimate.mean:+z.3f} ± {estimate.half_width:.3f}, {said}"
