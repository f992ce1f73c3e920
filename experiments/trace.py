"""Which horizon is as good as an eligibility trace, and what does each cost?

  python -m experiments.trace

A linear recurrent unit learns an endless copy task online (experiments.tasks.copying): an update
every 4 steps, the answer is the symbol 16 steps ago. A truncated stream reaches it from a horizon
of 17 on. With tail="trace" it runs the 4 steps of a chunk alone, and has the gradient of the whole
past. For horizons 1, 2, 4, ..., 64 and for the trace: the share of right answers along the
training, which is online, so that no answer was seen before; and the time of an update, of all
seeds at once, in alternation. 6000 updates, 5 seeds: three minutes on two CPU cores. To expect: the
trace and horizons 32 and 64 answer all right, horizons up to 16 from 0.78 to 0.91; an update with
horizon 32 takes about 5 times as long as one with the trace.
"""

import itertools
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments.charts import trace as trace_chart
from experiments.record import alternation, launch, results, seeds
from experiments.tasks import copying

HORIZONS = (1, 2, 4, 8, 16, 32, 64)
SCHEDULES = [("cut", horizon) for horizon in HORIZONS] + [("trace", 1)]
TASK = copying.Task()
NUM_UPDATES, NUM_SEGMENTS = 6000, 12
TIMED_UPDATES, ROUNDS = 200, 11
AS_GOOD = 0.01  # less accuracy than the trace, at most
DEFAULTS = {"num_seeds": 5}

flags.declare_key_flag("out")
flags.adopt_module_key_flags(seeds)


def learnt(tail: str, horizon: int, keys: jax.Array, steps: Any):
    """What learners of one schedule answer right, one for each key.

    Args:
      tail: as in `init_stream`.
      horizon: as in `init_stream`.
      keys: [seeds], for the parameters.
      steps: [seeds, ...], as `copying.draw_steps` makes them.

    Returns:
      [seeds, segments], the share of right answers in each segment of the training; and a call
      without arguments that makes `TIMED_UPDATES` further updates of all learners.
    """
    state = jax.jit(jax.vmap(lambda key: copying.start(TASK, key, horizon, tail)))(keys)
    train = jax.jit(jax.vmap(copying.make_train(TASK), (0, 0, None, None)))
    bounds = np.linspace(0, NUM_UPDATES, NUM_SEGMENTS + 1).astype(int).tolist()
    accuracies = []
    for first, stop in itertools.pairwise(bounds):
        state, metrics = train(state, steps, first, stop)
        right, due = metrics.aux
        accuracies.append(np.asarray(right / due))
    more = NUM_UPDATES, NUM_UPDATES + TIMED_UPDATES
    return np.stack(accuracies, axis=-1), lambda: train(state, steps, *more)


def measure(num_seeds: int) -> dict[str, Any]:
    """What every schedule learns, and the time of its updates."""
    keys = jax.random.split(jax.random.key(0), num_seeds)
    num_steps = (NUM_UPDATES + TIMED_UPDATES) * TASK.chunk
    draw = lambda key: copying.draw_steps(TASK, jax.random.fold_in(key, 1), num_steps)
    steps = jax.jit(jax.vmap(draw))(keys)
    accuracies, calls = {}, {}
    for tail, horizon in SCHEDULES:
        accuracies[tail, horizon], calls[tail, horizon] = learnt(tail, horizon, keys, steps)
        last = accuracies[tail, horizon][:, -1]
        print(f"{tail:5s}  horizon {horizon:2d}  has learnt {np.median(last):.3f}", flush=True)
    seconds = alternation.alternate({str(key): call for key, call in calls.items()}, ROUNDS)
    trace = seconds[str(SCHEDULES[-1])]
    rows = [
        {
            "tail": tail,
            "horizon": horizon,
            "steps_run": TASK.chunk + horizon - 1,
            "accuracy": results.rounded(accuracies[tail, horizon]),
            "milliseconds": alternation.milliseconds(seconds[str((tail, horizon))]) / TIMED_UPDATES,
            "over_trace": alternation.ratios(seconds[str((tail, horizon))], trace),
        }
        for tail, horizon in SCHEDULES
    ]
    task = TASK._asdict() | {"lag": TASK.lag}
    return {"task": task, "num_updates": NUM_UPDATES, "num_seeds": num_seeds, "rows": rows}


def print_table(found: dict[str, Any]) -> None:
    """A row for each schedule."""
    print("                        right answers, last segment          time of an update")
    print("tail   horizon  steps   median  lowest  highest      ms    relative to the trace's")
    for row in found["rows"]:
        last = np.array(row["accuracy"])[:, -1]
        low, median, high = row["over_trace"]
        print(
            f"{row['tail']:5s}  {row['horizon']:7d}  {row['steps_run']:5d}   {np.median(last):6.3f}"
            f"  {last.min():6.3f}  {last.max():7.3f}  {row['milliseconds']:6.3f}   {median:6.2f} "
            f"({low:.2f}-{high:.2f})"
        )


def conclusion(found: dict[str, Any]) -> str:
    """Which horizon equals the trace, and at what cost."""
    last = lambda row: np.median(np.array(row["accuracy"])[:, -1])
    *rows, trace = found["rows"]
    equal = [row for row in rows if last(row) >= last(trace) - AS_GOOD]
    if not equal:
        return f"No horizon up to {rows[-1]['horizon']} is as good as the trace."
    row = min(equal, key=lambda row: row["horizon"])
    return (
        f"The shortest horizon as good as the trace (within {AS_GOOD} of its right answers) is "
        f"{row['horizon']};\nits update takes {row['over_trace'][1]:.1f} times the trace's."
    )


def main():
    out, num_seeds = results.folder(), flags.FLAGS.num_seeds
    found = measure(num_seeds)
    print()
    print_table(found)
    print()
    print(conclusion(found))
    print()
    results.write(out, "trace", found)
    trace_chart.draw(found, out / "trace.png")
    print(f"written: {out / 'trace.png'}")


if __name__ == "__main__":
    launch.run(main)
