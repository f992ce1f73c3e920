"""TensorFlow's `ptb_word_lm`, small configuration, under three styles of truncation.

  python -m experiments.studies.ptb_lstm --corpus=ptb

Two LSTM layers of 200, embedding 200, batch 20, no dropout, 13 epochs of SGD whose rate is halved
after each epoch from the fourth on, gradients clipped; that is the small configuration of Zaremba,
Sutskever and Vinyals (2014). TensorFlow sums the losses of the 20 steps of a sequence, at rate 1
and norm 5; our loss is their mean, so the rate is 20 and the norm 0.25, which is the same update.

The horizon is 20 and an update comes every 20 steps in all styles: epochwise, BPTT(20; 20), is
TensorFlow's; semi, BPTT(20; 10), and true, BPTT(20; 1), take exact seams, for in sequences of 20
with cut seams all three would be one gradient. To expect of the epochwise style: perplexities of
121.39 in validation and 115.91 in test, which TensorFlow reports, within 2. What differs: the
readout's bias begins at 0; the test text is read as 20 streams, as the others are, not as one; and
the parameters tested are those of the best epoch, not of the last. Found: two seeds of three within
2, the third 2.7 below in validation.

A run takes 23 minutes in the epochwise style and an hour in the true one, on a fast quiet core, and
twice as long on a slow one; three seeds of each style six hours. Each finished run is a JSON in the
folder ptb_lstm of --out and is not run again; one that was stopped goes on from its last epoch in
--scratch. `--styles=true` runs one of the styles; the result holds what is finished of the others
too.
"""

import math
import statistics
from typing import Any

from absl import flags

from experiments.charts import ptb_lstm as ptb_lstm_chart
from experiments.lm import grid, models
from experiments.lm.settings import Settings
from experiments.lm.styles import Schedule
from experiments.record import chosen, kept, launch, results, seeds
from experiments.text import flags as text_flags

flags.declare_key_flag("out")
flags.adopt_module_key_flags(seeds)
flags.adopt_module_key_flags(grid)
flags.declare_key_flag("corpus")
flags.declare_key_flag("data_dir")

SEQ_LEN = 20
SCHEDULES = {  # and the seams
    "epochwise": (Schedule("epochwise", 20, 20, SEQ_LEN), "cut"),
    "semi": (Schedule("semi", 20, 10, SEQ_LEN), "exact"),
    "true": (Schedule("true", 20, 1, SEQ_LEN), "exact"),
}
DEFAULTS = {"num_seeds": 3}
LAYERS, SIZE, INIT_SCALE = 2, 200, 0.1
NUM_EPOCHS = 13
TENSORFLOW = {"valid": 121.39, "test": 115.91}  # perplexities

flags.DEFINE_string("styles", ",".join(SCHEDULES), "Styles to run, with commas.")


def settings(style: str, seed: int) -> Settings:
    """TensorFlow's, but for the style."""
    schedule, seams = SCHEDULES[style]
    return Settings(
        schedule,
        learning_rate=1.0 * SEQ_LEN,
        num_epochs=NUM_EPOCHS,
        batch_size=20,
        keep_prob=1.0,
        seams=seams,
        seed=seed,
        optimizer="sgd",
        lr_schedule="halving",
        clip_norm=5.0 / SEQ_LEN,
    )


def summary(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each style: perplexities of each seed, the validation's after each epoch too."""
    rows = []
    for style, (schedule, seams) in SCHEDULES.items():
        of_seeds = [cell for cell in cells if cell["style"] == style]
        if not of_seeds:
            continue
        perplexity = lambda name, of_seeds=of_seeds: [math.exp(cell[name]) for cell in of_seeds]
        epochs = [[math.exp(loss) for loss in cell["valid_loss"]] for cell in of_seeds]
        row = schedule._asdict() | {"seams": seams, "seeds": [cell["seed"] for cell in of_seeds]}
        row |= {"valid": perplexity("best_valid_loss"), "test": perplexity("test_loss")}
        row |= {name: [cell[name] for cell in of_seeds] for name in ("seconds", *kept.ORIGIN)}
        row["epochs"] = epochs
        rows.append(row)
    return rows


def print_table(rows: list[dict[str, Any]]) -> None:
    """Medians over the seeds beside TensorFlow's."""
    print("perplexity, median  seeds  validation, last epoch    best    test")
    for row in rows:
        last = statistics.median(epochs[-1] for epochs in row["epochs"])
        best, test = (statistics.median(row[split]) for split in TENSORFLOW)
        print(f"{row['style']:18s}  {len(row['seeds']):5d}  {last:22.2f}  {best:6.2f}  {test:6.2f}")
    print(f"TensorFlow          {TENSORFLOW['valid']:29.2f}  {TENSORFLOW['test']:14.2f}")


def main():
    out, folder, scratch = results.folder(), results.folder("ptb_lstm"), kept.folder("ptb_lstm")
    styles, corpus = chosen.of_flag("styles", SCHEDULES), text_flags.corpus_from_flags()
    model = models.LanguageModel(
        len(corpus.vocabulary), SIZE, SIZE, "lstm", LAYERS, init_scale=INIT_SCALE
    )
    name = lambda style, seed: f"{style}-seed-{seed}"
    is_finished = lambda plan: (folder / f"{name(*plan)}.json").exists()
    plans = [(style, seed) for seed in range(flags.FLAGS.num_seeds) for style in SCHEDULES]
    plans = [plan for plan in plans if plan[0] in styles or is_finished(plan)]
    cells, num_finished = {}, sum(map(is_finished, plans))
    for plan in sorted(plans, key=is_finished, reverse=True):
        found = grid.cell(folder, scratch, name(*plan), model, corpus, settings(*plan))
        cells[plan] = found | {"style": plan[0]}
        if len(cells) >= num_finished:  # else what is written would lack finished runs
            rows = summary([cells[plan] for plan in plans if plan in cells])
            found = {"corpus": corpus.name, "tensorflow": TENSORFLOW, "rows": rows}
            results.write(out, "ptb_lstm", found)
            ptb_lstm_chart.draw(found, out / "ptb_lstm.png")
    print_table(summary([*cells.values()]))


if __name__ == "__main__":
    launch.run(main)
