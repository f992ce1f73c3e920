"""The finished runs of the table as flat rows, and their statistics."""

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from experiments.claims import cells as plan
from experiments.claims import numbers, verdicts
from experiments.claims.cells import Cell
from experiments.claims.verdicts import Noise
from experiments.record.errors import UserError
from experiments.text.sequences import num_sequences

VALID, TEST = "validation", "test"


class Run(NamedTuple):
    """The outcome of a cell; losses in nats per word."""

    valid_loss: tuple[float, ...]  # after each epoch
    updates_per_epoch: int
    seconds: float
    test_loss: float  # after the epoch of the best validation loss

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
    offsets: dict[float, float]  # the mean difference at each learning rate
    mean: float  # of the absolute differences
    largest: float  # difference, with its sign
    patterns: list[float]  # the differences without their rate's offset


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
    for name in ("seconds", "test_loss"):
        if not isinstance(found[name], float):
            raise found.lacks(name)
    length = text["tokens"]["train"] // found["batch_size"]
    updates = num_sequences(length, found["seq_len"])
    return Run(tuple(losses), updates, found["seconds"], found["test_loss"])


def losses(runs: Runs, cell: Cell, measure: str = VALID) -> dict[int, float]:
    """The loss of a cell by seed, as far as they are there: on the validation or the test text."""
    seeds = {seed: cell._replace(seed=seed) for seed in range(plan.NUM_SEEDS)}
    loss_of = {VALID: lambda run: run.loss, TEST: lambda run: run.test_loss}[measure]
    return {seed: loss_of(runs[cell]) for seed, cell in seeds.items() if cell in runs}


def noise(runs: Runs, rate: float, measure: str = VALID, cell: str = "vanilla") -> Noise:
    """The noise of a difference between two of the table's schedules at a learning rate.

    It is pooled over all of them that have several seeds.
    """
    schedules = (*plan.SCHEDULES, *plan.CONTROLS, *plan.FULL)
    by_seed = [losses(runs, Cell(schedule, rate, cell=cell), measure) for schedule in schedules]
    return verdicts.noise([each for each in by_seed if len(each) > 1])


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
    offsets = {}
    for rate in plan.RATES:
        of_rate = [row.difference for row in rows if row.cell.learning_rate == rate]
        if of_rate:
            offsets[rate] = statistics.fmean(of_rate)
    patterns = [row.difference - offsets[row.cell.learning_rate] for row in rows]
    return Summary(rows, offsets, statistics.fmean(map(abs, each)), max(each, key=abs), patterns)
