"""The cells of the article's table, their controls, and what the finished ones come to."""

import math
import statistics
from pathlib import Path
from typing import Any, NamedTuple

from experiments.lm import data, grid, training
from experiments.lm.styles import Schedule, schedule
from experiments.record.errors import UserError

NUM_SEEDS = {0.003: 2, 0.001: 3, 0.0003: 1}  # at each learning rate
RATES = (*NUM_SEEDS,)
REPEATED_RATES = [rate for rate in RATES if NUM_SEEDS[rate] > 1]
MIDDLE_RATE = 0.001
NUM_EPOCHS = 20
PAIRS = ((5, 20), (10, 30), (20, 40))  # horizon and sequence length of the true style
SCHEDULES = [schedule("true", h, seq_len=t) for h, t in PAIRS]
SCHEDULES += [schedule("epochwise", h) for h in (5, 10, 20, 40)]
# Epochwise inside the true style's sequences: as many updates as the true style.
CONTROLS = [schedule("epochwise", h, seq_len=t) for h, t in PAIRS]
# What all cells have in common, and the article's; the corpus is the Penn Treebank.
SHARED = {
    "batch_size": 32,
    "keep_prob": 0.8,
    "backward": "sweeps",
    "embed_size": 50,
    "state_size": 100,
}
# Best validation losses of the article, at its three rates.
ARTICLE = {
    ("true", 5): (5.12, 5.01, 5.09),
    ("epochwise", 5): (5.21, 5.04, 5.04),
    ("true", 10): (5.07, 5.00, 5.12),
    ("epochwise", 10): (5.15, 5.03, 5.05),
    ("true", 20): (5.05, 5.00, 5.15),
    ("epochwise", 20): (5.11, 4.99, 5.08),
    ("epochwise", 40): (5.05, 4.99, 5.15),
}


class Cell(NamedTuple):
    """One run: what it differs in from the others."""

    schedule: Schedule
    learning_rate: float = MIDDLE_RATE
    seed: int = 0
    cell: str = "vanilla"
    carry: str = "dropped"  # as the article carries its state on
    seams: str = "cut"

    @property
    def name(self) -> str:
        """Of its files."""
        plan = self.schedule
        where = f"{plan.style}-{plan.horizon}-in-{plan.seq_len}"
        words = [where, f"rate-{self.learning_rate:g}-seed-{self.seed}"]
        usual = Cell(plan)
        words += [x for x, y in zip(self[3:], usual[3:], strict=True) if x != y]
        return "-".join(words)

    @property
    def config(self) -> dict[str, Any]:
        """What its file must say."""
        return self.schedule._asdict() | {"num_epochs": NUM_EPOCHS} | SHARED | dict(_own(self))

    def settings(self) -> training.Settings:
        """How it is trained; the cell apart, which is the model's."""
        how = {name: value for name, value in _own(self) if name != "cell"}
        return training.Settings(self.schedule, num_epochs=NUM_EPOCHS, **how)


def _own(cell):
    """Its fields but for the schedule."""
    return [(name, getattr(cell, name)) for name in Cell._fields if name != "schedule"]


def cells() -> list[Cell]:
    """Every cell, in the order in which they are run: the article's, the controls, more seeds."""
    plans = [*SCHEDULES, *CONTROLS]
    first = [Cell(plan, rate) for plan in plans for rate in RATES]
    more = [
        Cell(plan, rate, seed)
        for rate, num_seeds in NUM_SEEDS.items()
        for seed in range(1, num_seeds)
        for plan in plans
    ]
    return [*first, *more, *EXTRAS]


def read(folder: Path) -> tuple[dict[Cell, dict[str, Any]], list[Cell]]:
    """The finished cells, and those that are missing.

    Raises:
      UserError: a cell is not whole, is not what its name says, or was trained on another text or
        with other sizes than the article's.
    """
    found, missing = {}, []
    for cell in cells():
        path = folder / f"{cell.name}.json"
        if not path.exists():
            missing.append(cell)
            continue
        found[cell] = grid.read(path)
        for key, value in cell.config.items():
            if found[cell].get(key) != value:
                raise UserError(f"{path} has {key} {found[cell].get(key)}, not {value}.")
        check_corpus(path, found[cell].get("corpus"))
        _check_numbers(path, found[cell])
    return found, missing


def check_corpus(source: Any, corpus: Any) -> None:
    """Makes sure that a run's text is the article's.

    Raises:
      UserError: it is another.
    """
    if not isinstance(corpus, dict) or corpus.get("md5") != data.PTB_MD5:
        name = corpus.get("name") if isinstance(corpus, dict) else corpus
        raise UserError(f"{source}: the text is {name}, not the {data.PTB}.")


def _check_numbers(path, numbers):
    is_loss = lambda loss: isinstance(loss, float) and 0.0 < loss < math.inf
    for key in ("train_loss", "valid_loss"):
        losses = numbers.get(key)
        if not isinstance(losses, list) or not all(map(is_loss, losses)):
            losses = []
        if len(losses) != NUM_EPOCHS:
            raise UserError(f"{path} has no {key} for each of {NUM_EPOCHS} epochs.")
    tokens = numbers["corpus"].get("tokens")
    if not isinstance(tokens, dict) or not isinstance(tokens.get("train"), int):
        raise UserError(f"{path} has no number of tokens of its training text.")
    if numbers.get("best_valid_loss") != min(numbers["valid_loss"]):
        raise UserError(f"{path} has a best_valid_loss that is not the least.")
    if not isinstance(numbers.get("seconds"), float):
        raise UserError(f"{path} has no seconds.")
    if numbers["valid_loss"].index(numbers["best_valid_loss"]) + 1 != numbers.get("best_epoch"):
        raise UserError(f"{path} has a best_epoch that is not that of its best_valid_loss.")


def updates_per_epoch(numbers: dict[str, Any]) -> int:
    """Of a finished run: one for each sequence."""
    length = numbers["corpus"]["tokens"]["train"] // numbers["batch_size"]
    return data.num_sequences(length, numbers["seq_len"])


def best(found: dict[Cell, dict[str, Any]], cell: Cell) -> dict[int, float]:
    """The best validation loss of a cell by seed, as far as they are there."""
    seeds = {seed: cell._replace(seed=seed) for seed in range(max(NUM_SEEDS.values()))}
    return {s: found[cell]["best_valid_loss"] for s, cell in seeds.items() if cell in found}


def beside_article(found: dict[Cell, dict[str, Any]]) -> list[dict[str, Any]]:
    """The article's cells: `article`, `here` (seed 0), and `pattern`, what is left of their
    difference when the common offset, its mean over all cells, is taken away.
    """
    rows = []
    for plan in SCHEDULES:
        for rate, article in zip(RATES, ARTICLE[plan.style, plan.horizon], strict=True):
            cell = Cell(plan, rate)
            if cell in found:
                here = found[cell]["best_valid_loss"]
                row = plan._asdict() | {"learning_rate": rate, "article": article, "here": here}
                rows.append(row)
    offset = statistics.fmean(row["here"] - row["article"] for row in rows) if rows else 0.0
    return [row | {"pattern": row["here"] - row["article"] - offset} for row in rows]


def summary(found: dict[Cell, dict[str, Any]]) -> dict[str, Any]:
    """How far the article's cells are from ours, as far as they are there.

    Raises:
      UserError: none is.
    """
    rows = beside_article(found)
    if not rows:
        raise UserError("no cell of the article's table is there; run experiments.table.")
    differences = [row["here"] - row["article"] for row in rows]
    return {
        "cells": len(rows),
        "mean_difference": statistics.fmean(differences),
        "mean_size_of_difference": statistics.fmean(map(abs, differences)),
        "largest_difference": max(differences, key=abs),
        "largest_pattern": max((row["pattern"] for row in rows), key=abs),
        "hours": math.fsum(numbers["seconds"] for numbers in found.values()) / 3600,
        "spread_of_seeds": {f"{rate:g}": spread(found, rate) for rate in REPEATED_RATES},
        "rows": rows,
    }


def spread(found: dict[Cell, dict[str, Any]], rate: float | None = None) -> float | None:
    """The standard deviation between seeds, pooled over the cells that have several.

    Those are the cells of one learning rate; of all, where it has none of them or is None.
    """
    alike = [cell._replace(seed=0) for cell in found if rate in (None, cell.learning_rate)]
    kinds = dict.fromkeys(alike)  # a set has another order in each process
    several = [[*best(found, cell).values()] for cell in kinds]
    several = [losses for losses in several if len(losses) > 1]
    if not several:
        return None if rate is None else spread(found)
    squares = [statistics.variance(losses) * (len(losses) - 1) for losses in several]
    return math.sqrt(math.fsum(squares) / sum(len(losses) - 1 for losses in several))


HORIZON_20 = [schedule("true", 20, seq_len=40), schedule("epochwise", 20), CONTROLS[-1]]
# Further questions, at seed 0: full BPTT in 30 steps; semi-epochwise; the state carried on clean,
# then with seams that errors cross, and where dropout meets it most often; an LSTM.
EXTRAS = [Cell(schedule("full", seq_len=30)), Cell(schedule("semi", 20, 10, seq_len=40))]
EXTRAS += [Cell(plan, carry="clean") for plan in SCHEDULES if plan.style == "true"]
EXTRAS += [cell._replace(seams="exact") for cell in EXTRAS[-3:]]
EXTRAS += [Cell(schedule("epochwise", 5), rate, carry="clean") for rate in RATES]
EXTRAS += [Cell(plan, cell="lstm") for plan in HORIZON_20]
