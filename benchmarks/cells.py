"""Times true truncated BPTT through cells as their libraries write them, beside full BPTT.

    python -m benchmarks.cells

Loss and gradients of `truncated_scan` at horizon 20 over those of `jax.lax.scan`: with a readout of
10,000 words, and of the recurrence alone. Cells of Flax, Haiku and Equinox are called as they are,
so their inputs are projected inside the step. The last row has the sizes of the article's timing,
its own cell and an embedding. Each pair is timed in alternation; what counts is the ratio within a
round. The temporary memory of both gradients is that of a longer scan, for the epochwise style too.
Six minutes on two cores; numbers and chart go into --out.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from absl import flags

from benchmarks import cells_chart, library_cells
from benchmarks.recurrence import compiled
from benchmarks.worker import THREADS
from experiments.record import alternation, launch, results
from tbptt_jax import linear_softmax_cross_entropy, truncated_scan

flags.declare_key_flag("out")
flags.adopt_module_key_flags(alternation)
REPEATS = 3  # calls of each variant in a round


class Sizes(NamedTuple):
    """Of a problem; `vocab` is that of the readout, and of the embedding where there is one."""

    batch: int
    steps: int
    inputs: int
    state: int
    horizon: int
    vocab: int
    has_embedding: bool = False


TABLE = Sizes(batch=32, steps=40, inputs=50, state=100, horizon=20, vocab=10_000)
ARTICLE = Sizes(200, 40, 50, 4, 20, 10_000, has_embedding=True)
MEMORY = Sizes(batch=32, steps=128, inputs=128, state=128, horizon=20, vocab=0)
MakeCell = Callable[[int, int, int], library_cells.Cell]
CELLS: dict[str, tuple[float, MakeCell]] = {  # name: the largest ratio with a readout to reach
    "the article's": (1.1, library_cells.article),
    "flax SimpleCell": (1.1, functools.partial(library_cells.linen, "SimpleCell")),
    "flax GRUCell": (1.2, functools.partial(library_cells.linen, "GRUCell")),
    "flax LSTMCell": (1.2, functools.partial(library_cells.linen, "LSTMCell")),
    "flax OptimizedLSTMCell": (1.2, functools.partial(library_cells.linen, "OptimizedLSTMCell")),
    "flax OptimizedLSTMCell, 2 layers": (
        1.35,
        functools.partial(library_cells.linen, "OptimizedLSTMCell", layers=2),
    ),
    "haiku GRU": (1.2, functools.partial(library_cells.haiku, "GRU")),
    "haiku LSTM": (1.2, functools.partial(library_cells.haiku, "LSTM")),
    "equinox GRUCell": (1.2, functools.partial(library_cells.equinox, "GRUCell")),
    "equinox LSTMCell": (1.2, functools.partial(library_cells.equinox, "LSTMCell")),
}


def gradients(
    make_cell: MakeCell, sizes: Sizes, horizon: int | None, has_readout: bool, stride: int = 1
) -> tuple[Any, tuple]:
    """The compiled loss and gradients by `truncated_scan`, and its arguments."""
    keys = jax.random.split(jax.random.key(1), 5)
    cell = make_cell(sizes.batch, sizes.inputs, sizes.state)
    of_steps = sizes.steps, sizes.batch
    tokens, labels = jax.random.randint(keys[0], (2, *of_steps), 0, max(sizes.vocab, 1))
    rows = (sizes.vocab,) if sizes.has_embedding else of_steps
    inputs = jax.random.normal(keys[1], (*rows, sizes.inputs))
    readout = 0.1 * jax.random.normal(keys[2], (sizes.state, sizes.vocab * has_readout))
    errors = jax.random.normal(keys[3], (*of_steps, sizes.state))

    def loss(params, inputs, readout):
        xs = inputs[tokens] if sizes.has_embedding else inputs
        step = functools.partial(cell.step, params)
        ys = truncated_scan(step, cell.init, xs, horizon=horizon, stride=stride)[1]
        if has_readout:
            return linear_softmax_cross_entropy(ys, readout, None, labels)
        return jnp.vdot(ys, errors)

    return compiled(loss, (cell.params, inputs, readout))


def measure(make_cell: MakeCell, sizes: Sizes, rounds: int) -> dict:
    """Of both problems full BPTT's median milliseconds, and the quartiles of true over full."""
    found = {}
    for name, has_readout in {"readout": True, "alone": False}.items():
        calls = {}
        for style, horizon in {"full": None, "true": sizes.horizon}.items():
            run, args = gradients(make_cell, sizes, horizon, has_readout)
            calls[style] = functools.partial(run, *args)
        seconds = alternation.alternate(calls, rounds, REPEATS)
        found[name] = {
            "full_milliseconds": alternation.milliseconds(seconds["full"]),
            "true_milliseconds": alternation.milliseconds(seconds["true"]),
            "ratio": alternation.ratios(seconds["true"], seconds["full"]),
        }
    return found


def temporary_bytes(make_cell: MakeCell, sizes: Sizes) -> dict[str, int]:
    """The temporary memory of the gradient, without a readout, by style."""
    schedules = {"full": (None, 1), "true": (sizes.horizon, 1), "epochwise": (sizes.horizon,) * 2}
    found = {}
    for style, (horizon, stride) in schedules.items():
        run, _ = gradients(make_cell, sizes, horizon, has_readout=False, stride=stride)
        found[style] = run.memory_analysis().temp_size_in_bytes
    return found


def row(name: str, sizes: Sizes, memory: Sizes, rounds: int) -> dict:
    """The row of the table of a cell of `CELLS`; printed."""
    target, make_cell = CELLS[name]
    targets = {"readout": target, "alone": round((sizes.horizon + 2) / 6, 2)}
    found = measure(make_cell, sizes, rounds)
    num_bytes = temporary_bytes(make_cell, memory)
    print(f"{name:30}{sizes.batch:6}{sizes.state:6}", end="")
    for key, aim in targets.items():
        low, ratio, high = found[key]["ratio"]
        full = found[key]["full_milliseconds"]
        print(f"{full:9.2f} ms {ratio:6.2f} ({low:.2f}-{high:.2f}; {aim:.2f})", end="")
    print("".join(f"{size / 1e6:8.1f}" for size in num_bytes.values()), flush=True)
    about = {"cell": name} | sizes._asdict() | {"targets": targets, "temporary_bytes": num_bytes}
    return about | found


def main() -> None:
    """Times, prints, writes and draws."""
    out, rounds = results.folder(), flags.FLAGS.rounds
    print(f"{'':42}{'with a readout':>12}{'alone':>26}{'MB: full, true, epochwise':>42}")
    rows = [row(name, TABLE, MEMORY, rounds) for name in CELLS]
    rows.append(row("the article's", ARTICLE, MEMORY, rounds))
    report = {"rounds": rounds, "repeats": REPEATS, "memory": MEMORY._asdict(), "rows": rows}
    report = results.write(out, "cells", report)
    cells_chart.draw(report, out / "cells.png")


if __name__ == "__main__":
    launch.run(main, num_cores=THREADS)
