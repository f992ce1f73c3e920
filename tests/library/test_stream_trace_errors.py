"""What a trace cannot be kept of fails in one line."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import traced_cells

from tbptt_jax import init_stream, stream_scan

W = np.ones((3, 3))  # float64, as those below, before the tests set it


def scaled(w, c, x):
    return w[0] * c + x, c


def mean(w, c, x):
    return c - jnp.mean(c) * w[0], c


def two_shapes(w, c, x):
    u, v = c
    return (u + v.reshape(2, 3), v * w[0, 0]), u


def embedding(w, c, x):
    return c + w[x], c


@jax.custom_vjp
def clipped(c):
    return c


clipped.defvjp(lambda c: (c, None), lambda _, ct: (jnp.clip(ct, -1.0, 1.0),))

REFUSED = {
    "a kernel": (lambda w, c, x: (c @ w, c), {}, "one that does (`dot_general`); use tail='cut'."),
    "a mean": (mean, {}, "that mixes no entries of its carry, got one that does (`reduce_sum`);"),
    "a rule": (lambda w, c, x: (clipped(c) * w[0], c), {}, "is not linear in the errors"),
    "two shapes": (
        two_shapes,
        {"init": (np.ones((2, 3)), np.ones(6))},
        "got one that does (`reshape`);",
    ),
    "an embedding": (
        embedding,
        {"init": np.ones((64, 100)), "xs": np.ones((1, 64), int)},
        "params['table'] may enter every entry of the carry, and its trace would be "
        "float64[64, 100, 50, 100]; read it before the cell, in xs",
    ),
    "no pair": (lambda w, c, x: c, {}, "cell must return a pair, (carry, y)"),
    "a carry of another type": (
        lambda w, c, x: (c.astype(float) * w[0], c),
        {"init": np.ones(3, np.float32)},
        "cell returns a carry of float64[3] where init_stream was given float32[3]; give it",
    ),
    "no cell": (None, {}, "tail='trace' needs cell, a function, and params."),
    "no parameters": (scaled, {"params": None}, "tail='trace' needs cell, a function, and params."),
    "nothing to train": (scaled, {"params": {"n": 1}}, "a floating-point parameter; params has"),
    "a stale state": (scaled, {"stale": True}, "runs the kept steps again; stale must be False."),
    "a cell for no trace": (
        scaled,
        {"tail": "cut"},
        "cell and params are for tail='trace', got tail='cut'.",
    ),
    "another tail": (scaled, {"tail": "keep"}, "tail must be 'cut' or 'trace', got 'keep'."),
}


@pytest.mark.parametrize("name", REFUSED)
def test_cell_without_a_trace_is_refused_in_one_line(name):
    f, kwargs, said = REFUSED[name]
    if name == "an embedding":
        kwargs |= {"params": {"table": np.ones((50, 100))}}
        f = lambda params, c, x: embedding(params["table"], c, x)
    kwargs = {"init": W[0], "xs": W[:1], "params": W, "tail": "trace"} | kwargs
    with pytest.raises((ValueError, TypeError), match="init_stream: ") as raised:
        init_stream(horizon=2, cell=f, **kwargs)
    assert said in str(raised.value) and "\n" not in str(raised.value)


def other(params, carry, x):
    """The decay is used for each sample: it would need another trace."""
    carry = params["decay"][0] * carry + x @ params["kernel"]
    return carry, carry


def test_state_of_another_cell_is_refused():
    problem = traced_cells.problem("lif", 2)
    state = init_stream(
        problem.init, problem.xs, horizon=1, tail="trace", cell=problem.f, params=problem.params
    )
    refused = pytest.raises(ValueError, match="stream_scan: the state's trace is of another cell")
    with refused:
        stream_scan(other, state, problem.xs, params=problem.params)
    of_other_shape = jax.tree.map(lambda leaf: leaf[..., :1], problem.params)
    for params in (problem.params | {"zz": W}, of_other_shape):
        with refused:  # the tail's gradient is that of the last chunk too
            stream_scan(problem.f, state, problem.xs, params=params, last=True)
    with pytest.raises(TypeError, match="a state with tail='trace' needs params"):
        stream_scan(functools.partial(problem.f, problem.params), state, problem.xs)
