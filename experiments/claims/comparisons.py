"""Differences between schedules of the table, each with its verdict; a claim is a family."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from experiments.claims import cells, runs
from experiments.claims.cells import Cell
from experiments.claims.verdicts import Estimate, adjusted_p, decide, paired
from experiments.lm.styles import Schedule

RATES = (*cells.RATES, None)  # None: each at its best


class Comparison(NamedTuple):
    """Two schedules at one rate; losses in nats per word, negative where the first wins."""

    claim: str
    first: Schedule
    second: Schedule
    learning_rate: float | None  # None: each at its best
    rates: tuple[float, ...]  # of the two
    estimate: Estimate  # of the difference, over the seeds that both have
    seeds: int
    article: float | None  # the article's difference
    p: float  # of no difference, Holm's over all comparisons of the claim

    @property
    def horizon(self) -> int:
        """That of the truncated one."""
        return min(self.first.horizon, self.second.horizon)

    @property
    def difference(self) -> float:
        """The mean over the seeds."""
        return self.estimate.mean

    @property
    def verdict(self) -> str:
        """Whether the first is better."""
        return decide(-self.difference, self.p)


def name_of(rate: float | None) -> str:
    """How a row's learning rate is written."""
    return "each at its best rate" if rate is None else f"rate {rate:g}"


# Each is a claim about the first of every pair of schedules.
EQUAL_HORIZON = "true has a lower loss than epochwise at equal horizon"
EQUAL_LENGTH = "full has a lower loss than true in sequences of equal length"
EQUAL_UPDATES = "true has a lower loss than epochwise at equal horizon and number of updates"
FEWER_UPDATES = "epochwise has a lower loss with an update for 2 to 4 blocks than with one for each"
SEMI = "true has a lower loss than semi-epochwise at equal horizon and number of updates"
CLAIMS = (EQUAL_HORIZON, EQUAL_LENGTH, EQUAL_UPDATES, FEWER_UPDATES, SEMI)


def _pairs() -> Iterator[tuple[str, tuple[Schedule, Schedule]]]:
    extras = [cell.schedule for cell in cells.EXTRAS if not cell.differences]
    plans = [*cells.SCHEDULES, *cells.FULL, *extras]
    plans = {(plan.style, plan.horizon): plan for plan in plans}
    for control in cells.CONTROLS:
        true, epochwise = plans["true", control.horizon], plans["epochwise", control.horizon]
        yield EQUAL_HORIZON, (true, epochwise)
        # An epochwise schedule of the whole sequence is full BPTT within it.
        whole = plans.get(("epochwise", true.seq_len)) or plans.get(("full", true.seq_len))
        if whole:
            yield EQUAL_LENGTH, (whole, true)
        yield EQUAL_UPDATES, (true, control)
        yield FEWER_UPDATES, (control, epochwise)
        if ("semi", control.horizon) in plans:
            yield SEMI, (true, plans["semi", control.horizon])


def comparisons(
    finished: runs.Runs, measure: str = runs.VALID, cell: str = "vanilla"
) -> list[Comparison]:
    """All pairs whose runs of a recurrent cell are there, at each learning rate and at the best.

    The best rate is that of the validation losses of seed 0.
    """
    rows = [
        row
        for claim, plans in _pairs()
        for rate in RATES
        if (row := _compared(finished, claim, plans, rate, measure, cell))
    ]
    families = [[row for row in rows if row.claim == claim] for claim in CLAIMS]
    rows = [row for family in families for row in _with_p(family)]
    return sorted(rows, key=lambda r: (CLAIMS.index(r.claim), RATES.index(r.learning_rate)))


def _compared(finished, claim, plans, learning_rate, measure, cell) -> Comparison | None:
    """A comparison without its p-value; None where no seed is there for both."""
    rates = tuple(_rate(finished, plan, learning_rate, cell) for plan in plans)
    if None in rates:
        return None
    each = (Cell(plan, rate, cell=cell) for plan, rate in zip(plans, rates, strict=True))
    first, second = (runs.losses(finished, either, measure) for either in each)
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return None
    differences = [first[seed] - second[seed] for seed in seeds]
    # The pooled noise lacks what a seed does at one rate and not at another.
    pooled = runs.noise(finished, rates[0], measure, cell)
    estimate = pooled.of(differences) if rates[0] == rates[1] else paired(differences)
    article = None
    if cell == "vanilla" and all(plan in cells.SCHEDULES for plan in plans):
        article = round(_article(plans[0], learning_rate) - _article(plans[1], learning_rate), 2)
    return Comparison(
        claim=claim,
        first=plans[0],
        second=plans[1],
        learning_rate=learning_rate,
        rates=rates,
        estimate=estimate,
        seeds=len(seeds),
        article=article,
        p=math.nan,
    )


def _with_p(family):
    """With Holm's p-values; a pair whose best rates are one is compared there once."""
    tests = {(row.first, row.second, row.rates): row.estimate for row in family}
    p_values = dict(zip(tests, adjusted_p(tests.values()), strict=True))
    return [row._replace(p=p_values[row.first, row.second, row.rates]) for row in family]


def _rate(finished, plan, rate, cell) -> Any:
    """The rate, or for None that of the least loss; None where a loss is missing."""
    if rate is not None:
        return rate
    best = [runs.losses(finished, Cell(plan, rate, cell=cell)) for rate in cells.RATES]
    if not all(0 in losses for losses in best):
        return None
    return min(zip(cells.RATES, best, strict=True), key=lambda each: each[1][0])[0]


def _article(plan, rate):
    losses = dict(zip(cells.RATES, cells.ARTICLE[plan.style, plan.horizon], strict=True))
    return min(losses.values()) if rate is None else losses[rate]
