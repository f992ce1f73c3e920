"""The finished runs of the table as flat rows, and their statistics."""

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from experiments.claims import cells as plan
from experiments.claims import numbers
from experiments.claims.cells import Cell
from experiments.record.errors import UserError
from experiments.text.sequences import num_sequences


class Run(NamedTuple):
    """The outcome of a cell; losses in nats per word."""

    valid_loss: tuple[float, ...]  # after each epoch
    updates_per_epoch: int
    seconds: float

    @property
    def loss(self) -> float:
        """The best validation loss."""
        return min(self.valid_loss)


Runs = Mapping[Cell, Run]


class BesideArticle(NamedTuple):
    """A cell of the article's table: its best validation loss there, and here at seed 0."""

    cell: Cell
    article: float
    here: float

    @property
    def difference(self) -> float:
        """Ours minus the article's."""
        return self.here - self.article


class Summary(NamedTuple):
    """How far the article's cells are from ours, in nats per word."""

    rows: list[BesideArticle]
    offset: float  # the mean difference
    mean: float  # of the absolute differences
    largest: float  # difference, with its sign
    patterns: list[float]  # the differences without the offset


def read(folder: Path) -> tuple[dict[Cell, Run], list[Cell]]:
    """The finished runs, and the cells that are missing.

    Raises:
      UserError: a file is not whole, is not what its name says, or is of another text or of other
        sizes than the article's.
    """
    paths = {cell: folder / f"{cell.name}.json" for cell in plan.cells()}
    found = {cell: _read(path, cell) for cell, path in paths.items() if path.exists()}
    return found, [cell for cell in paths if cell not in found]


def _read(path, cell):
    found = numbers.read(path)
    for key, value in cell.config.items():
        if found[key] != value:
            raise UserError(f"{path} has {key} {found[key]}, not {value}.")
    losses, text = found["valid_loss"], found["corpus"]
    is_loss = lambda loss: isinstance(loss, float) and 0.0 < loss < math.inf
    whole = isinstance(losses, list) and len(losses) == plan.NUM_EPOCHS
    if not (whole and all(map(is_loss, losses))):
        raise found.lacks(f"a valid_loss for each of {plan.NUM_EPOCHS} epochs")
    if min(losses) != found["best_valid_loss"]:
        raise UserError(f"{path} has a best_valid_loss that is not the least valid_loss.")
    if not isinstance(found["seconds"], float):
        raise found.lacks("seconds")
    length = text["tokens"]["train"] // found["batch_size"]
    updates = num_sequences(length, found["seq_len"])
    return Run(tuple(losses), updates, found["seconds"])


def losses(runs: Runs, cell: Cell) -> dict[int, float]:
    """The best validation loss of a cell by seed, as far as they are there."""
    seeds = {seed: cell._replace(seed=seed) for seed in range(max(plan.NUM_SEEDS.values()))}
    return {seed: runs[cell].loss for seed, cell in seeds.items() if cell in runs}


def spread(runs: Runs, rate: float | None = None) -> float | None:
    """The standard deviation between seeds, pooled over the cells that have several.

    Those are the cells of one learning rate; of all, where it has none of them or is None.
    """
    alike = [cell._replace(seed=0) for cell in runs if rate in (None, cell.learning_rate)]
    kinds = dict.fromkeys(alike)  # a set has another order in each process
    several = [[*losses(runs, cell).values()] for cell in kinds]
    several = [each for each in several if len(each) > 1]
    if not several:
        return None if rate is None else spread(runs)
    squares = [statistics.variance(each) * (len(each) - 1) for each in several]
    return math.sqrt(math.fsum(squares) / sum(len(each) - 1 for each in several))


def summary(runs: Runs) -> Summary:
    """The article's cells beside ours, as far as they are there.

    Raises:
      UserError: none is.
    """
    rows = [
        BesideArticle(cell, article, runs[cell].loss)
        for schedule in plan.SCHEDULES
        for rate, article in zip(
            plan.RATES, plan.ARTICLE[schedule.style, schedule.horizon], strict=True
        )
        if (cell := Cell(schedule, rate)) in runs
    ]
    if not rows:
        raise UserError("no cell of the article's table is there; run experiments.table.")
    each = [row.difference for row in rows]
    offset = statistics.fmean(each)
    patterns = [difference - offset for difference in each]
    return Summary(rows, offset, statistics.fmean(map(abs, each)), max(each, key=abs), patterns)
