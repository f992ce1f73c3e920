"""What each style of truncation learns, and what it costs: true, epochwise and full side by side.

  python -m experiments.reach

A small RNN learns sequences whose next symbol depends on the one d steps back
(experiments.tasks.delay). All styles see the same stream, without seams, and update every 32 steps;
an error arrives at that symbol where it reaches d + 1 steps back. True and epochwise BPTT have
horizon 8, full BPTT the 32 steps of an update. For delays below and beyond the horizon: the share
of the dependency that is learnt early and in the end, the mean over the seeds (0 chance, 1 all),
and the time of an update relative to full BPTT. A minute on two CPU cores. To expect: after 60
updates 0.6 of the delay of 7 with the true style and 0.5 with the epochwise one; in the end both
have learnt it, and neither has learnt the delay of 10, of which full BPTT learns 0.98.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.charts import reach as reach_chart
from experiments.record import alternation, launch, results, seeds
from experiments.tasks import delay

HORIZON = 8
DELAYS = (4, 7, 10)  # well within the reach of its errors, the longest within it, and beyond
TASK = delay.Task(max(DELAYS), batch_size=8, recurrent_gain=0.8, milestones=(60, 1000))
SCHEDULES = {  # horizon and stride
    "true": (HORIZON, 1),
    "epochwise": (HORIZON, HORIZON),
    "full": (TASK.chunk, TASK.chunk),
}
TIMED_UPDATES, ROUNDS = 10, 9
DEFAULTS = {"num_seeds": 16}

flags.declare_key_flag("out")
flags.adopt_module_key_flags(seeds)


def learnt(task: delay.Task, horizon: int, stride: int, keys: jax.Array):
    """What BPTT(horizon; stride) learns of every delay, a learner for each of them and of the keys.

    Returns:
      [delays, seeds, milestones], the shares; and a call without arguments that makes
      `TIMED_UPDATES` further updates of all learners.
    """
    delays = jnp.array(DELAYS)
    only = delay.Pass(horizon, stride)
    of_seeds = jax.vmap(lambda key: delay.start(task, key, only))
    state = jax.jit(jax.vmap(lambda _: of_seeds(keys)))(delays)
    train = _of_all(delay.make_train(task, only), 2)
    share = _of_all(delay.make_share(task, only), 0)
    shares = []
    for first, stop in zip((0, *task.milestones), task.milestones, strict=False):
        state = train(state, delays, keys, first, stop)
        shares.append(np.asarray(share(state, delays, keys)))
    return np.stack(shares, axis=-1), lambda: train(state, delays, keys, 0, TIMED_UPDATES)


def _of_all(function: Callable, num_bounds: int) -> Callable:
    """`function(state, delay, key, *bounds)` for [delays, seeds] states, compiled."""
    bounds = (None,) * num_bounds
    of_seeds = jax.vmap(function, (0, None, 0, *bounds))
    return jax.jit(jax.vmap(of_seeds, (0, 0, None, *bounds)))


def print_table(found: dict[str, Any]) -> None:
    """A row for each style, a column for each delay at each milestone."""
    milestones, delays = found["task"]["milestones"], found["delays"]
    width = 7 * len(delays)
    moments = "  ".join(f"{f'after {updates} updates':>{width}s}" for updates in milestones)
    columns = "  ".join("".join(f"{f'd={d}':>7s}" for d in delays) for _ in milestones)
    print(f"{'share learnt':27s}{moments}   time of an")
    print(f"style      horizon  stride {columns}       update")
    for row in found["rows"]:
        means = np.mean(row["share"], axis=1).T
        cells = "  ".join("".join(f"{mean:7.2f}" for mean in moment) for moment in means)
        where = f"{row['style']:9s}  {row['horizon']:7d}  {row['stride']:6d}"
        print(f"{where} {cells}     {row['over_full'][1]:8.2f}")


def conclusion(found: dict[str, Any]) -> str:
    """What the table shows, in two sentences."""
    shares = {row["style"]: np.array(row["share"]) for row in found["rows"]}
    times = {row["style"]: row["over_full"][1] for row in found["rows"]}
    _, near, beyond = found["delays"]
    early, late = found["task"]["milestones"]
    of_near = {style: share[1, :, 0] for style, share in shares.items()}
    of_beyond = {style: share[2, :, -1].mean() for style, share in shares.items()}
    ahead = int(np.sum(of_near["true"] > of_near["epochwise"]))
    return (
        f"No error of horizon {HORIZON} reaches a symbol {beyond} steps back: after {late} updates "
        f"true and epochwise BPTT\nhave learnt {of_beyond['true']:.2f} and "
        f"{of_beyond['epochwise']:.2f} of that dependency, full BPTT {of_beyond['full']:.2f}.\n"
        f"Every true error reaches the symbol {near} steps back, one in {HORIZON} of the epochwise "
        f"ones does: after {early} updates\ntrue BPTT has learnt {of_near['true'].mean():.2f} and "
        f"epochwise {of_near['epochwise'].mean():.2f} of it, true more in {ahead} of "
        f"{found['num_seeds']} seeds, for {times['true'] / times['epochwise']:.1f} times the time."
    )


def measure(num_seeds: int) -> dict[str, Any]:
    """What every style learns, and the time of its updates."""
    keys = jax.random.split(jax.random.key(0), num_seeds)
    shares, calls = {}, {}
    for style, schedule in SCHEDULES.items():
        shares[style], calls[style] = learnt(TASK, *schedule, keys)
        print(f"{style} BPTT has learnt", flush=True)
    seconds = alternation.alternate(calls, ROUNDS)
    rows = [
        {
            "style": style,
            "horizon": horizon,
            "stride": stride,
            "share": results.rounded(shares[style]),
            "over_full": alternation.ratios(seconds[style], seconds["full"]),
        }
        for style, (horizon, stride) in SCHEDULES.items()
    ]
    return {"task": TASK._asdict(), "delays": DELAYS, "num_seeds": num_seeds, "rows": rows}


def main():
    out, num_seeds = results.folder(), flags.FLAGS.num_seeds
    print(f"delays {DELAYS}, {num_seeds} seeds each, {TASK.milestones[-1]} updates", flush=True)
    found = measure(num_seeds)
    print()
    print_table(found)
    print()
    print(conclusion(found))
    print()
    results.write(out, "reach", found)
    reach_chart.draw(found, out / "reach.png")
    print(f"written: {out / 'reach.png'}")


if __name__ == "__main__":
    launch.run(main)
