"""Cells of libraries: the benchmark times the gradient of the definition."""

import functools
import json
from pathlib import Path

import definition
import jax
import jax.numpy as jnp
import pytest
from cells import like
from gradients import largest_error

from benchmarks import cells, library_cells
from tbptt_jax import truncated_scan

TINY = cells.Sizes(batch=2, steps=4, inputs=3, state=5, horizon=3, vocab=7)


def make_cell(name) -> library_cells.Cell:
    """In float64; Flax initialises in float32."""
    with jax.numpy_dtype_promotion("standard"):
        cell = cells.CELLS[name][1](TINY.batch, TINY.inputs, TINY.state)
    return cell._replace(**jax.tree.map(jnp.float64, {"params": cell.params, "init": cell.init}))


@pytest.mark.parametrize("name", cells.CELLS)
def test_gradient_is_the_definition(name):
    with jax.numpy_rank_promotion("allow"):
        check_gradient(name)


def check_gradient(name):
    f, params, init = make_cell(name)
    xs = jax.random.normal(jax.random.key(1), (TINY.steps, TINY.batch, TINY.inputs))
    results = jax.lax.scan(functools.partial(f, params), init, xs)
    errors = like(results, jax.random.key(2))

    def loss(params, init, xs):
        step = functools.partial(f, params)
        return definition.inner(errors, truncated_scan(step, init, xs, horizon=TINY.horizon))

    expected = definition.truncated_gradients(
        f, params, init, xs, *errors, horizon=TINY.horizon, stride=1
    )
    actual = jax.jit(jax.grad(loss, argnums=(0, 1, 2), allow_int=True))(params, init, xs)
    assert largest_error(actual, expected) < 1e-12


@pytest.mark.standard
def test_what_is_measured_is_drawn(tmp_path, capsys):
    rows = [cells.row("the article's", TINY, TINY, 1)]
    assert "the article's" in capsys.readouterr().out
    report = {"rows": rows, "memory": TINY._asdict(), "num_cores": 2, "cpu": "a processor"}
    cells.cells_chart.draw(report, tmp_path / "cells.png")
    assert (tmp_path / "cells.png").stat().st_size > 0


def test_readme_has_the_measured_numbers():
    root = Path(__file__).parents[2]
    rows = json.loads((root / "benchmarks/results/cells.json").read_text())["rows"]
    lines = (root / "README.md").read_text().splitlines()
    named = {row["cell"]: row for row in rows if row["state"] == cells.TABLE.state}
    shown = [name for name in named if any(line.startswith(f"| {name} |") for line in lines)]
    assert len(shown) == 4
    for name in shown:
        row = named[name]
        (_, with_readout, _), (_, alone, _) = row["readout"]["ratio"], row["alone"]["ratio"]
        memory = row["temporary_bytes"]["true"] / row["temporary_bytes"]["full"]
        assert f"| {name} | {with_readout:.2f} | {alone:.1f} | {memory:.2f} |" in lines
