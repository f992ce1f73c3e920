"""Prints the largest gradient error against the definition, over more than the tests have time for.

python tests/library/largest_error.py    (fifteen minutes on two cores)

Every recurrence of cells.py on seven steps, horizons 1, 2, 3, 4, 6, 7 and 9, strides 1 to 5 and the
horizon; relative to each array's max-norm. Expect about 2e-14 in float64 and 1e-5 in float32.
Then the same recurrences and schedules as streams of eleven steps in chunks of one stride and of
three, states run again and stale: the sum of the chunks' gradients against `truncated_scan`.
At last every step of step_errors.py with horizon 3 and strides 1 and 2: the norm of its gradient,
the largest error of it and of a stream's, and how far the gradient of `lax.scan` is from it.
"""

import importlib.util
import os

os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"

import any_steps
import cells
import chunks
import definition
import jax
import step_errors
from gradients import RECURRENCES, T, largest_error, scan_gradients, windows_gradients

SCHEDULES = [(h, k) for h in (1, 2, 3, 4, 6, 7, 9) for k in {1, 2, 3, 4, 5, h} if k <= h]
SINGLE = {"float64": "float32", "complex128": "complex64"}
DOUBLE = {single: double for double, single in SINGLE.items()}


def cast(tree, dtypes):
    """The tree with leaves of these dtypes cast to those they map to."""
    return jax.tree.map(
        lambda leaf: leaf.astype(dtypes[leaf.dtype.name]) if leaf.dtype.name in dtypes else leaf,
        tree,
    )


def main():
    worst = {"sweeps and chains": 0.0, "windows": 0.0, "sweeps and chains in float32": 0.0}
    for name in RECURRENCES:
        f, *arguments = cells.problem(name, T)
        single = cast(arguments, SINGLE)
        double = cells.Problem(f, *cast(single, DOUBLE))
        for schedule in SCHEDULES:
            horizon, stride = schedule
            expected = definition.truncated_gradients(*double, horizon=horizon, stride=stride)
            found = {
                "sweeps and chains": scan_gradients(double, *schedule),
                "windows": windows_gradients(double, *schedule),
            }
            if name != "counting_rnn":  # its noise is drawn in float64
                in_single = scan_gradients(cells.Problem(f, *single), *schedule)
                found["sweeps and chains in float32"] = cast(in_single, DOUBLE)
            for way, gradients in found.items():
                worst[way] = max(worst[way], largest_error(gradients, expected))
    print(f"{len(RECURRENCES)} recurrences x {len(SCHEDULES)} schedules, T = {T}")
    for way, error in worst.items():
        print(f"{way}: {error:.1e}", flush=True)
    print(f"streams, T = {chunks.T}: {largest_error_of_streams():.1e}")
    print_steps()


def largest_error_of_streams():
    worst = 0.0
    for name in RECURRENCES:
        problem = chunks.stream_problem(name)
        for i, (horizon, stride) in enumerate(SCHEDULES):
            expected = scan_gradients(problem, horizon, stride)
            for blocks, stale in ((1, i % 2 == 0), (3, i % 2 == 1)):
                gradients = chunks.summed_chunk_gradients(
                    problem, horizon, stride, blocks * stride, stale
                )
                worst = max(worst, largest_error(gradients, expected))
    return worst


def print_steps():
    print(f"\n{'step':26}{'stride':>7}{'norm':>9}{'error':>10}{'stream':>10}{'from full':>11}")
    diffrax = any_steps.DIFFRAX if importlib.util.find_spec("diffrax") else []
    for f in (*step_errors.STEPS, *diffrax):
        for stride in (1, 2):
            found = step_errors.compare(f, T, 3, stride)
            print(f"{f.__name__:26}{stride:7}{found.norm:9.1f}{found.error:10.1e}", end="")
            print(f"{found.error_of_stream:10.1e}{found.difference_from_full:11.3g}", flush=True)


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()
