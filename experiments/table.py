"""The article's table: best validation loss by style, horizon and learning rate, in 20 epochs.

  python -m experiments.table --corpus=ptb

trains 21 cells, epochwise controls inside one sequence, and two more seeds of the rate 0.001, as
the article does: state 100, batch 32, and a state that goes through dropout before the next
sequence is given it. A cell takes 8 to 15 minutes on two CPU cores, all of them about nine hours.
Each finished cell is a JSON in results/table and is not run again; one that was stopped goes on
from its last epoch in --scratch. `--only='true-20-*'` runs some of them. `--check` trains
nothing: it makes sure that all cells are there and whole, and prints the table.
"""

import fnmatch
import math
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags

from experiments import common, grid, launch, models, report, training
from experiments.errors import UserError
from experiments.styles import Schedule, schedule

flags.adopt_module_key_flags(report)
flags.adopt_module_key_flags(grid)
flags.declare_key_flag("corpus")
flags.declare_key_flag("data_dir")
flags.DEFINE_string("only", "*", "Pattern of the names of the cells to run.")
flags.DEFINE_bool("check", False, "Train nothing; check the finished cells and print the table.")

RATES = (0.003, 0.001, 0.0003)
MIDDLE_RATE = 0.001
NUM_EPOCHS, NUM_SEEDS = 20, 3
PAIRS = ((5, 20), (10, 30), (20, 40))  # horizon and sequence length of the true style
SCHEDULES = [schedule("true", h, seq_len=t) for h, t in PAIRS]
SCHEDULES += [schedule("epochwise", h) for h in (5, 10, 20, 40)]
# Epochwise inside the true style's sequences: as many updates as the true style.
CONTROLS = [schedule("epochwise", h, seq_len=t) for h, t in PAIRS]
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


def cells() -> Iterator[tuple[str, Schedule, float, int]]:
    """(name, schedule, learning rate, seed) of every cell, in the order in which they are run."""
    for rate in (MIDDLE_RATE, *(rate for rate in RATES if rate != MIDDLE_RATE)):
        for plan in SCHEDULES:
            yield name(plan, rate, 0), plan, rate, 0
        if rate == MIDDLE_RATE:
            for plan in CONTROLS:
                yield name(plan, rate, 0), plan, rate, 0
    for seed in range(1, NUM_SEEDS):
        for plan in (*SCHEDULES, *CONTROLS):
            yield name(plan, MIDDLE_RATE, seed), plan, MIDDLE_RATE, seed


def name(plan: Schedule, rate: float, seed: int) -> str:
    """A cell's name."""
    return f"{plan.style}-{plan.horizon}-in-{plan.seq_len}-rate-{rate:g}-seed-{seed}"


def run(only: str, folder: Path, scratch: Path) -> None:
    """Trains the cells whose names match and that are not finished."""
    chosen = [cell for cell in cells() if fnmatch.fnmatchcase(cell[0], only)]
    if not chosen:
        raise UserError(f"--only={only} matches no cell, such as {next(cells())[0]}.")
    corpus = common.corpus_from_flags()
    model = models.LanguageModel(len(corpus.vocabulary), embed_size=50, state_size=100)
    for cell_name, plan, rate, seed in chosen:
        settings = training.Settings(
            plan, learning_rate=rate, num_epochs=NUM_EPOCHS, carry="dropped", seed=seed
        )
        found = grid.cell(folder, scratch, cell_name, model, corpus, settings)
        print(f"{cell_name}: best validation loss {found['best_valid_loss']:.3f}", flush=True)


def read(folder: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The finished cells by name, and the names of those that are missing.

    Raises:
      UserError: a cell is not whole, or is not what its name says.
    """
    found, missing = {}, []
    for cell_name, plan, rate, seed in cells():
        path = folder / f"{cell_name}.json"
        if not path.exists():
            missing.append(cell_name)
            continue
        cell = found[cell_name] = grid.read(path)
        expected = plan._asdict() | {"learning_rate": rate, "seed": seed, "num_epochs": NUM_EPOCHS}
        for key, value in expected.items():
            if cell.get(key) != value:
                raise UserError(f"{path} has {key} {cell.get(key)}, not {value}.")
        for key in ("train_loss", "valid_loss"):
            losses = cell.get(key, [])
            if len(losses) != NUM_EPOCHS or not all(map(math.isfinite, losses)):
                raise UserError(f"{path} has no {key} for each of {NUM_EPOCHS} epochs.")
        if cell["best_valid_loss"] != min(cell["valid_loss"]):
            raise UserError(f"{path} has a best_valid_loss that is not the least.")
    return found, missing


def print_table(found: dict[str, dict[str, Any]]) -> None:
    """Every cell beside the article's, as far as they are there."""
    print("best validation loss, seed 0 (the article's; spread of the seeds)")
    print("style      horizon  sequence  " + "  ".join(f"rate {rate:<16g}" for rate in RATES))
    for plan in (*SCHEDULES, *CONTROLS):
        columns = []
        for i, rate in enumerate(RATES):
            losses = [
                found[key]["best_valid_loss"]
                for key in (name(plan, rate, seed) for seed in range(NUM_SEEDS))
                if key in found
            ]
            article = ARTICLE[plan.style, plan.horizon][i] if plan in SCHEDULES else None
            first = f"{losses[0]:.3f}" if losses else "  -  "
            beside = f"({article:.2f})" if article else ""
            spread = f"±{statistics.stdev(losses):.3f}" if len(losses) > 1 else ""
            columns.append(f"{first} {beside:6s} {spread:6s}")
        where = f"{plan.style:9s}  {plan.horizon:7d}  {plan.seq_len:8d}"
        print(f"{where}  " + "    ".join(columns))


def main():
    values = flags.FLAGS
    folder = report.folder() / "table"
    if not values.check:
        run(values.only, folder, Path(values.scratch) / "table")
    found, missing = read(folder)
    print_table(found)
    if values.check and missing:
        raise UserError(f"{len(missing)} cells are missing, the first {missing[0]}.")


if __name__ == "__main__":
    launch.run(main)
