"""Which error reaches which step? Pictures of the styles of truncation, and their counts.

  python -m experiments.diagram
  python -m experiments.diagram --bptt=7 --seq_len=49

By default the article's two pictures, 6 steps and a horizon of 3, in the true and the epochwise
style, with the semi-epochwise one between them; any other horizon, length (by default twice the
horizon, and at least 6) and stride (by default half of the horizon) by flags. What is drawn is not
a formula: it is the derivative of `truncated_scan`, step by step.

It also counts the article's example of 49 errors and a horizon of 7. Epochwise, 7 of them reach 7
steps back. In the true style 43 do, and one each 1 to 6; the article's text says 42, its code's
windows give 43. Seconds on any machine.
"""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.charts import diagram as diagram_chart
from experiments.lm import flags as common
from experiments.lm.styles import AUTO, Schedule, schedule
from experiments.record import launch, results
from experiments.record.errors import UserError
from tbptt_jax import truncated_scan

flags.declare_key_flag("out")
for _name in common.SCHEDULE_FLAGS:
    flags.declare_key_flag(_name)

DEFAULTS = {"bptt": 3}
SEQ_LEN = 6
COUNTED = schedule("true", 7, seq_len=49), schedule("epochwise", 7, seq_len=49)


def reached(plan: Schedule) -> np.ndarray:
    """[T, T]: whether the error of each step, a row, reaches the input of each step, a column."""

    def outputs(xs):
        add = lambda carry, x: (carry + x, carry + x)
        return truncated_scan(add, 0.0, xs, horizon=plan.horizon, stride=plan.stride)[1]

    return np.asarray(jax.jit(jax.jacrev(outputs))(jnp.zeros(plan.seq_len))) != 0.0


def lags(plan: Schedule) -> np.ndarray:
    """[T, T]: how many steps back from its error a step lies, -1 where the error does not reach."""
    steps = np.arange(plan.seq_len)
    return np.where(reached(plan), steps[:, None] - steps, -1)


def counts(plan: Schedule) -> dict[int, int]:
    """How many errors reach k steps back, their own step included, by k."""
    return dict(sorted(Counter(np.sum(reached(plan), axis=1).tolist()).items()))


def main():
    values = flags.FLAGS
    out = results.folder()
    horizon, seq_len = values.bptt, values.seq_len
    if horizon == AUTO:
        raise UserError(f"--bptt={AUTO} is for training; name a number.")
    if seq_len is None:
        seq_len = max(2 * horizon, SEQ_LEN)
    if horizon > seq_len:
        raise UserError(
            f"--bptt={horizon} is longer than --seq_len={seq_len}: no error reaches that far back."
        )
    if values.stride is not None and not 1 < values.stride < horizon:
        raise UserError(
            f"--stride={values.stride} is not between 1 and --bptt={horizon}; the two themselves "
            "are the true and the epochwise style, which are drawn in any case."
        )
    plans = [schedule("true", horizon, seq_len=seq_len)]
    if horizon > 2 or values.stride is not None:
        plans.append(schedule("semi", horizon, values.stride, seq_len))
    plans.append(schedule("epochwise", horizon, seq_len=seq_len))
    for plan in (*plans, *COUNTED):
        steps, errors = (
            ", ".join(map(str, each)) for each in zip(*counts(plan).items(), strict=True)
        )
        of = f"{plan.style}, horizon {plan.horizon}: of {plan.seq_len} errors"
        print(f"{of} {errors} reach {steps} steps back")
    print("(the article counts 42 of 49 for the true style; its code's windows give 43)")
    row = lambda plan: plan._asdict() | {"reach": counts(plan)}
    drawn = [row(plan) | {"lag": lags(plan).tolist()} for plan in plans]
    found = {"drawn": drawn, "counted": [row(plan) for plan in COUNTED]}
    results.write(out, "diagram", found)
    for ending in ("svg", "png"):
        diagram_chart.draw(found, out / f"diagram.{ending}")


if __name__ == "__main__":
    launch.run(main)
