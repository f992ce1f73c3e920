"""The article's table: best validation loss by style, horizon and learning rate, in 20 epochs.

  python -m experiments.table --corpus=ptb

trains 21 cells as the article does: state 100, batch 32, and a state that goes through dropout
before the next sequence is given it. Beside them there are controls that make as many updates as
the true style, epochwise inside its sequences, and full BPTT in 30 steps; two further seeds of all
these; then cells for further questions (`cells.EXTRAS`). A cell takes 7 minutes on two CPU cores
that do nothing else, all 119 of them 14 hours. Each finished cell is a JSON in the folder table of
--out and is not run again; one that was stopped goes on from its last epoch in --scratch.
`--only='true-20-*'` runs some of them, and the committed cells are in results: `--out=results` adds
to them.

`--check` trains and writes nothing: it prints the table of --results, and fails where a cell is
missing or not whole. To expect: 5.0 to 5.2 nats per word, within 0.03 of the article.
"""

import fnmatch
import statistics
from pathlib import Path

from absl import flags

from experiments.charts import table as table_chart
from experiments.claims import cells, numbers, runs
from experiments.lm import grid, models
from experiments.record import kept, launch, results
from experiments.record.errors import UserError
from experiments.text import flags as text_flags

flags.declare_key_flag("out")
flags.declare_key_flag("results")
flags.adopt_module_key_flags(grid)
flags.declare_key_flag("corpus")
flags.declare_key_flag("data_dir")
flags.DEFINE_string("only", "*", "Pattern of the names of the cells to run.")
flags.DEFINE_bool("check", False, "Train nothing; check the finished cells and print the table.")


def run(only: str, folder: Path, scratch: Path) -> None:
    """Trains the cells whose names match and that are not finished."""
    chosen = [cell for cell in cells.cells() if fnmatch.fnmatchcase(cell.name, only)]
    if not chosen:
        raise UserError(f"--only={only} matches no cell, such as {cells.cells()[0].name}.")
    corpus = text_flags.corpus_from_flags()
    numbers.check_text("experiments.table", {"name": corpus.name, "md5": corpus.md5})
    build = models.LanguageModel
    for cell in chosen:
        model = build(len(corpus.vocabulary), **models.ARTICLE_SIZES, cell=cell.cell)
        found = grid.cell(folder, scratch, cell.name, model, corpus, cell.settings())
        print(f"{cell.name}: best validation loss {found['best_valid_loss']:.3f}", flush=True)


def print_table(finished: runs.Runs) -> None:
    """Every cell beside the article's, as far as they are there."""
    print("best validation loss, seed 0 (the article's; standard deviation of the seeds)")
    rates = "  ".join(f"rate {rate:<16g}" for rate in cells.RATES)
    print(f"style      horizon  sequence  {rates}".rstrip())
    for plan in (*cells.SCHEDULES, *cells.CONTROLS, *cells.FULL):
        columns = []
        for i, rate in enumerate(cells.RATES):
            losses = runs.losses(finished, cells.Cell(plan, rate))
            article = (
                cells.ARTICLE.get((plan.style, plan.horizon)) if plan in cells.SCHEDULES else None
            )
            first = f"{losses[0]:.3f}" if 0 in losses else "  -  "
            beside = f"({article[i]:.2f})" if article else ""
            spread = f"±{statistics.stdev(losses.values()):.3f}" if len(losses) > 1 else ""
            columns.append(f"{first} {beside:6s} {spread:6s}")
        where = f"{plan.style:9s}  {plan.horizon:7d}  {plan.seq_len:8d}"
        print(f"{where}  " + "    ".join(columns).rstrip())
    for cell in cells.EXTRAS:
        if cell in finished:
            print(f"{cell.name}: {finished[cell].loss:.3f}")


def print_summary(found: runs.Summary) -> None:
    """How far the article's cells are from ours."""
    offsets = ", ".join(f"{offset:+z.3f} at {rate:g}" for rate, offset in found.offsets.items())
    print(
        f"{len(found.rows)} of the article's {len(cells.RATES) * len(cells.SCHEDULES)} cells: mean "
        f"difference {offsets}, mean absolute difference {found.mean:.3f}, largest "
        f"{found.largest:+.3f}; without the means at most {max(map(abs, found.patterns)):.3f}"
    )


def main():
    values = flags.FLAGS
    for name in ("only", "out") if values.check else ("results",):
        if values[name].present:
            goes = "with" if values.check else "without"
            raise UserError(f"--{name} does not go {goes} --check.")
    folder = results.finished() if values.check else results.folder()
    if not values.check:
        run(values.only, results.folder("table"), kept.folder("table"))
    finished, missing = runs.read(folder / "table")
    print_table(finished)
    if missing and values.check:
        raise UserError(f"{len(missing)} cells are missing, the first {missing[0].name}.")
    if any(cells.Cell(plan, rate) in finished for plan in cells.SCHEDULES for rate in cells.RATES):
        print_summary(runs.summary(finished))
        if not values.check:
            table_chart.draw(finished, folder)


if __name__ == "__main__":
    launch.run(main)
