"""Does BPTT(2h; h) do as well as BPTT(h), as Williams and Peng (1990) found?

  python -m experiments.williams_peng --task=delay
  python -m experiments.williams_peng --task=ptb --corpus=ptb

Three schedules: BPTT(h; 1), where every error reaches h steps back; BPTT(2h; h), where they reach
h+1 to 2h for about the cost of full BPTT; and BPTT(h; h), 1 to h. On the delay stands BPTT(2h; 1)
beside them, which tells depth from style. All see the same stream, without seams, and update every
h steps.

`delay` is a small task (experiments.tasks.delay): a binary sequence whose next symbol depends on
the one d = h - 1 steps back, the furthest whose own step BPTT(h) reaches. A seed succeeds once it
has learnt 90 % of what there is to learn; success rates come with Wilson's 95 % intervals, over
seeds in one vmapped call. The gain of the recurrence was set on other seeds, so that about half
succeed with BPTT(h; 1) in 1000 updates. Minutes on two CPU cores; each finished schedule is a JSON
in the folder williams_peng_delay of --scratch, and is not run again.

`ptb` is the language model at h = 5 and 10, rate 0.001: best validation loss, mean over the seeds
with their range. 18 runs of about five minutes; each goes on where it was stopped, and those that
are finished are not run again. --num_seeds is 200 for the delay and 3 for the text by default.
"""

import functools
import statistics
from pathlib import Path

import jax
import numpy as np
from absl import flags
from scipy.stats import binomtest

from experiments.charts import williams_peng as williams_peng_chart
from experiments.lm import grid, models
from experiments.lm.settings import Settings
from experiments.lm.styles import Schedule
from experiments.record import kept, launch, results, seeds
from experiments.tasks import delay
from experiments.text import data
from experiments.text import flags as text_flags

flags.DEFINE_enum("task", "delay", ("delay", "ptb"), "Which of the two tasks.")
flags.declare_key_flag("out")
flags.adopt_module_key_flags(seeds)
flags.adopt_module_key_flags(grid)
flags.declare_key_flag("corpus")
flags.declare_key_flag("data_dir")

SCHEDULES = {  # horizon and stride in units of h; 0 for one step
    "BPTT(h; 1)": (1, 0),
    "BPTT(2h; h)": (2, 1),
    "BPTT(h; h)": (1, 1),
}
DEEPER = {"BPTT(2h; 1)": (2, 0)}  # on the delay, beside them: is it the depth or the style?
HORIZONS = (5, 10)
DEFAULTS = {"num_seeds": None}  # that of the task
NUM_SEEDS = {"delay": 200, "ptb": 3}
NUM_EPOCHS = 5
TASK = delay.Task(7, chunk=8, state_size=16, recurrent_gain=0.5)


def schedules(h: int, of: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """(horizon, stride) by name."""
    return {name: (a * h, max(1, b * h)) for name, (a, b) in of.items()}


def learn_delay(horizon: int, stride: int, num_seeds: int) -> dict[str, list]:
    """{"share" [seeds][milestones]}, of what there is to learn."""
    keys = jax.random.split(jax.random.key(1), num_seeds)
    only = delay.Pass(horizon, stride)
    learn = functools.partial(delay.make_learn(TASK, only), TASK.max_delay)
    return {"share": np.asarray(jax.jit(jax.vmap(learn))(keys)).astype(float).tolist()}


def run_delay(folder: Path, num_seeds: int) -> dict:
    """Success rates of the schedules at each milestone, h the task's chunk."""
    rows = []
    for name, (horizon, stride) in schedules(TASK.chunk, SCHEDULES | DEEPER).items():
        steps = {"horizon": horizon, "stride": stride}
        config = steps | {"task": TASK._asdict(), "num_seeds": num_seeds}
        find = lambda h=horizon, s=stride: learn_delay(h, s, num_seeds)
        holds = {"share": (num_seeds, len(TASK.milestones))}
        found = kept.kept(folder / f"{horizon}-{stride}.json", config, find, holds)
        shares = np.array(found["share"])
        successes = np.sum(shares >= delay.SUCCESS, axis=0).tolist()
        intervals = [
            binomtest(count, num_seeds).proportion_ci(0.95, method="wilson") for count in successes
        ]
        for updates, count, (low, high) in zip(TASK.milestones, successes, intervals, strict=True):
            print(
                f"{name:11s} after {updates:4d} updates {count / num_seeds:6.1%} of {num_seeds} "
                f"seeds succeed ({low:.1%}-{high:.1%})",
                flush=True,
            )
        row = {"schedule": name} | steps | {"successes": successes}
        row |= {"intervals": results.rounded(intervals)}
        rows.append(row | {"share": results.rounded(shares), "commit": found["commit"]})
    return {"task": TASK._asdict(), "delay": TASK.max_delay, "num_seeds": num_seeds, "rows": rows}


def run_ptb(folder: Path, scratch: Path, corpus: data.Corpus, num_seeds: int) -> dict:
    """Best validation losses of the three schedules; every finished run has a JSON of its own."""
    model = models.LanguageModel(len(corpus.vocabulary), **models.ARTICLE_SIZES)
    rows = []
    for h in HORIZONS:
        for name, (horizon, stride) in schedules(h, SCHEDULES).items():
            cells = [
                run_cell(folder, scratch, model, corpus, Schedule("semi", horizon, stride, h), seed)
                for seed in range(num_seeds)
            ]
            best = [cell["best_valid_loss"] for cell in cells]
            mean = statistics.mean(best)
            print(
                f"h = {h:2d}  {name:11s} best validation loss {mean:.4f} "
                f"({min(best):.4f}-{max(best):.4f})",
                flush=True,
            )
            row = {"h": h, "schedule": name, "horizon": horizon, "stride": stride}
            commits = [cell["commit"] for cell in cells]
            rows.append(row | {"best_valid_loss": best, "commit": commits})
    return {
        "corpus": corpus.name,
        "num_seeds": num_seeds,
        "num_epochs": NUM_EPOCHS,
        "rows": rows,
    }


def run_cell(folder, scratch, model, corpus, schedule, seed):
    """One run of the language model."""
    settings = Settings(schedule, num_epochs=NUM_EPOCHS, seams="exact", seed=seed)
    name = f"{schedule.horizon}-{schedule.stride}-in-{schedule.seq_len}-seed-{seed}"
    return grid.cell(folder, scratch, name, model, corpus, settings)


def main():
    out, task = results.folder(), flags.FLAGS.task
    num_seeds = flags.FLAGS.num_seeds or NUM_SEEDS[task]
    if task == "delay":
        found = run_delay(kept.folder("williams_peng_delay"), num_seeds)
    else:
        folder, scratch = results.folder("williams_peng"), kept.folder("williams_peng")
        found = run_ptb(folder, scratch, text_flags.corpus_from_flags(), num_seeds)
    results.write(out, f"williams_peng_{task}", found)
    williams_peng_chart.draw(out, out / "williams_peng.png")


if __name__ == "__main__":
    launch.run(main)
