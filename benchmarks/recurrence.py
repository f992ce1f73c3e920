"""Times the gradient of a recurrence alone: full BPTT, truncated_scan, and windows run again.

    python -m benchmarks.recurrence

Without a readout this is the hardest case for true truncated BPTT: counting operations, its step
costs (h + 2) / 3 times full BPTT's. The target is half of that. With one (`readout`: 10,000 words)
the growing state shows where true stops being free. Inputs come projected, as wide as the gates:
h' = tanh(x + h W), and an LSTM likewise. All variants of a case are timed in alternation; its
ratios are medians over the rounds. Memory is what the compiled program holds beside its arguments
and results. Ten minutes on two cores; numbers and chart go into --out.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from absl import flags

from benchmarks import recurrence_chart
from benchmarks.worker import THREADS
from experiments.record import alternation, launch, results
from tbptt_jax import linear_softmax_cross_entropy, truncated_scan

flags.declare_key_flag("out")
flags.adopt_module_key_flags(alternation)


class Case(NamedTuple):
    """Sizes, and the schedule."""

    cell: str
    batch: int
    steps: int
    state: int
    horizon: int
    stride: int = 1
    vocab: int = 0  # words of a readout; 0 for none


SHAPES = [(32, 40, 100, 20), (32, 128, 256, 32), (32, 128, 1024, 32)]
SHAPES += [(1, 512, 256, 32), (1, 512, 256, 128), (256, 64, 64, 16)]
CELLS = ("rnn", "lstm")
STATES = (16, 32, 64, 128, 256, 512)
SWEEPS = {
    "length": [Case("rnn", 32, steps, 100, 20) for steps in (40, 80, 160, 320, 640, 1280)],
    "horizon": [Case("rnn", 32, 160, 100, h) for h in (2, 5, 10, 20, 40, 80)],
    "stride": [Case("rnn", 32, 160, 100, 40, stride) for stride in (1, 2, 5, 10, 20, 40)],
    "state": [Case("rnn", 32, 40, n, 20) for n in STATES],
    "readout": [Case("rnn", 32, 40, n, 20, vocab=10_000) for n in STATES],
}
CHAINS = [Case(cell, 32, 160, 256, horizon, 20) for cell in CELLS for horizon in (20, 40)]


def rnn(kernel, carry, x):
    """One step, h = tanh(x + h₋₁ W)."""
    carry = jnp.tanh(x + carry @ kernel)
    return carry, carry


def lstm(kernel, carry, x):
    """The usual LSTM, gates in the order input, forget, candidate, output."""
    cell, hidden = carry
    i, f, g, o = jnp.split(x + hidden @ kernel, 4, axis=-1)
    cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
    hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
    return (cell, hidden), hidden


def problem(case: Case):
    """(step, (kernel, init, xs), cotangents of the outputs)."""
    keys = jax.random.split(jax.random.key(0), 3)
    width = case.state * (4 if case.cell == "lstm" else 1)
    kernel = jax.random.normal(keys[0], (case.state, width)) / case.state**0.5
    xs = jax.random.normal(keys[1], (case.steps, case.batch, width))
    zeros = jnp.zeros((case.batch, case.state))
    errors = jax.random.normal(keys[2], (case.steps, case.batch, case.state))
    step, init = (lstm, (zeros, zeros)) if case.cell == "lstm" else (rnn, zeros)
    return step, (kernel, init, xs), errors


def scanned(case: Case, horizon: int | None):
    """The compiled gradient by `truncated_scan`, and its arguments."""
    step, args, errors = problem(case)
    readout = jnp.zeros((case.state, case.vocab))
    labels = jnp.zeros((case.steps, case.batch), jnp.int32)

    def loss(args, readout):
        kernel, init, xs = args
        step_fn = functools.partial(step, kernel)
        ys = truncated_scan(step_fn, init, xs, horizon=horizon, stride=case.stride)[1]
        if case.vocab:
            return linear_softmax_cross_entropy(ys, readout, None, labels)
        return jnp.vdot(ys, errors)

    return compiled(loss, (args, readout))


def windowed(case: Case):
    """Every loss's window run again, all side by side: one scan of `horizon` steps.

    The first window carries the losses of all its steps, each of which reaches the start.
    """
    step, args, errors = problem(case)
    num_windows = case.steps - case.horizon + 1
    steps = jnp.arange(case.horizon)[:, None] + jnp.arange(num_windows)

    def loss(args):
        kernel, init, xs = args
        step_fn = functools.partial(step, kernel)
        held = functools.partial(step, jax.lax.stop_gradient(kernel))
        entering = lambda carry, x: (held(carry, x)[0], carry)
        _, carries = jax.lax.scan(entering, jax.lax.stop_gradient(init), jax.lax.stop_gradient(xs))
        starts = jax.tree.map(
            lambda first, c: jnp.concatenate([first[None], c[1:num_windows]]), init, carries
        )
        _, ys = jax.lax.scan(step_fn, starts, xs[steps])
        return jnp.vdot(ys[:, 0], errors[: case.horizon]) + jnp.vdot(
            ys[-1, 1:], errors[case.horizon :]
        )

    return compiled(loss, (args,))


def compiled(loss, args):
    """(compiled value and gradients, args)."""
    grad = jax.jit(jax.value_and_grad(loss, argnums=tuple(range(len(args)))))
    return grad.lower(*args).compile(), args


def measure(variants: dict, rounds: int) -> dict:
    """Median milliseconds, quartiles of the ratio to the first variant, and megabytes."""
    calls = {name: functools.partial(run, *args) for name, (run, args) in variants.items()}
    seconds = alternation.alternate(calls, rounds)
    base = next(iter(seconds.values()))
    return {
        name: {
            "milliseconds": alternation.milliseconds(seconds[name]),
            "ratio": alternation.ratios(seconds[name], base),
            "megabytes": round(run.memory_analysis().temp_size_in_bytes / 1e6, 3),
        }
        for name, (run, _) in variants.items()
    }


def shapes(rounds: int) -> list[dict]:
    """Full, true and windows at the twelve shapes; printed as a table."""
    print(f"{'cell':5}{'B, T, N, h':>20}{'full ms':>9}{'true/full':>19}{'target':>8}", end="")
    print(f"{'windows/true':>14}{'memory true/full':>18}")
    found = []
    for cell in CELLS:
        for sizes in SHAPES:
            case = Case(cell, *sizes)
            true = scanned(case, case.horizon)
            result = measure({"full": scanned(case, None), "true": true}, rounds)
            # Apart, since windows leave the allocator without the memory that others reuse.
            beside = measure({"true": true, "windows": windowed(case)}, max(3, rounds // 2))
            full, true, windows = *result.values(), beside["windows"]
            low, ratio, high = true["ratio"]
            print(f"{cell:5}{', '.join(map(str, sizes)):>20}{full['milliseconds']:9.1f}", end="")
            print(f"{ratio:7.2f} ({low:.2f}-{high:.2f}){(case.horizon + 2) / 6:8.2f}", end="")
            print(f"{windows['ratio'][1]:14.1f}", end="")
            print(f"{true['megabytes'] / full['megabytes']:18.2f}", flush=True)
            found.append(case._asdict() | result | {"windows": windows})
    return found


def sweep(cases: list[Case], rounds: int) -> list[dict]:
    """Full and truncated BPTT over a list of cases; printed line by line."""
    found = []
    for case in cases:
        variants = {"full": scanned(case, None), "truncated": scanned(case, case.horizon)}
        result = measure(variants, rounds)
        full, truncated = result.values()
        sizes = ", ".join(f"{name} {value}" for name, value in case._asdict().items())
        print(
            f"{sizes}: full {full['milliseconds']:.2f} ms, truncated {truncated['ratio'][1]:.2f}x"
        )
        found.append(case._asdict() | result)
    return found


def main() -> None:
    """Times, prints, writes and draws."""
    out, rounds = results.folder(), flags.FLAGS.rounds
    report = {"rounds": rounds, "shapes": shapes(rounds)}
    for name, cases in (SWEEPS | {"chains": CHAINS}).items():
        print(f"\nagainst {name}")
        report[name] = sweep(cases, rounds)
    report = results.write(out, "recurrence", report)
    recurrence_chart.draw(report, out / "recurrence.png")


if __name__ == "__main__":
    launch.run(main, num_cores=THREADS)
