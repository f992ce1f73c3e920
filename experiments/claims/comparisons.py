"""Differences between schedules of the table, each with its verdict; a claim is a family."""

from collections.abc import Iterator
from typing import NamedTuple

from experiments.claims import cells, runs
from experiments.claims.cells import Cell
from experiments.claims.verdicts import Estimate, decide, holm
from experiments.lm.styles import Schedule

RATES = (*cells.RATES, None)  # None: each at its best


class Comparison(NamedTuple):
    """Two schedules at one rate; losses in nats per word, negative where the first wins."""

    claim: str
    first: Schedule
    second: Schedule
    learning_rate: float | None
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
    rows = []
    for claim, plans in _pairs():
        for rate in RATES:
            first, second = (_losses(finished, plan, rate, measure, cell) for plan in plans)
            seeds = sorted(first.keys() & second.keys())
            if not seeds:
                continue
            differences = [first[seed] - second[seed] for seed in seeds]
            estimate = runs.noise(finished, rate, measure, cell).of(differences)
            article = None
            if cell == "vanilla" and all(plan in cells.SCHEDULES for plan in plans):
                article = round(_article(plans[0], rate) - _article(plans[1], rate), 2)
            row = Comparison(claim, *plans, rate, estimate, len(seeds), article, estimate.p_none)
            rows.append(row)
    place = lambda row: (CLAIMS.index(row.claim), RATES.index(row.learning_rate))
    rows = sorted(rows, key=place)
    families = [[row for row in rows if row.claim == claim] for claim in CLAIMS]
    return [
        row._replace(p=p)
        for family in families
        for row, p in zip(family, holm([row.p for row in family]), strict=True)
    ]


def _losses(finished, plan, rate, measure, cell):
    """Losses by seed."""
    if rate is None:
        best = [runs.losses(finished, Cell(plan, rate, cell=cell)) for rate in cells.RATES]
        if not all(0 in losses for losses in best):
            return {}
        rate = min(zip(cells.RATES, best, strict=True), key=lambda each: each[1][0])[0]
    return runs.losses(finished, Cell(plan, rate, cell=cell), measure)


def _article(plan, rate):
    losses = dict(zip(cells.RATES, cells.ARTICLE[plan.style, plan.horizon], strict=True))
    return min(losses.values()) if rate is None else losses[rate]
