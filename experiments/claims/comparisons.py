"""Differences between schedules of the table, beside the spread between their seeds."""

import statistics
from collections.abc import Iterator
from typing import NamedTuple

from experiments.claims import cells, runs
from experiments.claims.cells import Cell
from experiments.claims.verdicts import decide, threshold
from experiments.lm.styles import Schedule

RATES = (*cells.RATES, None)  # None: each at its best


class Comparison(NamedTuple):
    """Two schedules at one rate; losses in nats per word, negative where the first wins."""

    claim: str
    first: Schedule
    second: Schedule
    learning_rate: float | None
    difference: float  # of the means over the seeds that both have
    seeds: int
    article: float | None  # the article's difference
    spread: float  # standard deviation between seeds

    @property
    def horizon(self) -> int:
        """That of the truncated one."""
        return min(self.first.horizon, self.second.horizon)

    @property
    def limit(self) -> float:
        """What the difference has to exceed."""
        return threshold(self.spread, self.seeds)

    @property
    def verdict(self) -> str:
        """Whether the first is better."""
        return decide(-self.difference, self.limit)


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
    plans = {(plan.style, plan.horizon): plan for plan in cells.SCHEDULES}
    extras = [cell.schedule for cell in cells.EXTRAS if cell == Cell(cell.schedule)]
    extras = {(plan.style, plan.horizon): plan for plan in extras}
    for control in cells.CONTROLS:
        true, epochwise = plans["true", control.horizon], plans["epochwise", control.horizon]
        yield EQUAL_HORIZON, (true, epochwise)
        # An epochwise schedule of the whole sequence is full BPTT within it.
        whole = plans.get(("epochwise", true.seq_len)) or extras.get(("full", true.seq_len))
        if whole:
            yield EQUAL_LENGTH, (whole, true)
        yield EQUAL_UPDATES, (true, control)
        yield FEWER_UPDATES, (control, epochwise)
        if ("semi", control.horizon) in extras:
            yield SEMI, (true, extras["semi", control.horizon])


def comparisons(finished: runs.Runs) -> list[Comparison]:
    """All pairs whose runs are there, at each learning rate and at each one's best.

    The best rate is that of seed 0. The spread is that of the seeds at the rate; of all rates where
    it has one seed, and for each at its best.
    """
    rows = []
    for claim, plans in _pairs():
        for rate in RATES:
            losses = [_losses(finished, plan, rate) for plan in plans]
            seeds = sorted(losses[0].keys() & losses[1].keys())
            spread = runs.spread(finished, rate)
            if not seeds or spread is None:
                continue
            first, second = (statistics.fmean(each[seed] for seed in seeds) for each in losses)
            article = None
            if all(plan in cells.SCHEDULES for plan in plans):
                article = round(_article(plans[0], rate) - _article(plans[1], rate), 2)
            rows.append(
                Comparison(claim, *plans, rate, first - second, len(seeds), article, spread)
            )
    place = lambda row: (CLAIMS.index(row.claim), RATES.index(row.learning_rate))
    return sorted(rows, key=place)


def _losses(finished, plan, rate):
    """Best validation losses by seed."""
    if rate is not None:
        return runs.losses(finished, Cell(plan, rate))
    at_rates = [runs.losses(finished, Cell(plan, rate)) for rate in cells.RATES]
    if not all(0 in losses for losses in at_rates):
        return {}
    return min(at_rates, key=lambda losses: losses[0])


def _article(plan, rate):
    losses = dict(zip(cells.RATES, cells.ARTICLE[plan.style, plan.horizon], strict=True))
    return min(losses.values()) if rate is None else losses[rate]
