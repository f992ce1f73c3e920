"""The recurrences under test. Their weights are large: no gradient vanishes by luck."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

BATCH, STATE, EMBED = 2, 3, 2


class Problem(NamedTuple):
    """A step with everything its gradients depend on."""

    f: Any  # (params, carry, x) -> (carry, y)
    params: Any
    init: Any
    xs: Any
    carry_ct: Any
    ys_ct: Any


class LSTMCarry(NamedTuple):
    cell: jax.Array
    hidden: jax.Array


def affine(weights, *inputs):
    total = sum(x @ w for x, w in zip(inputs, weights["kernels"], strict=True))
    return total + jnp.broadcast_to(weights["bias"], total.shape)


def tanh_rnn(params, carry, x):
    carry = jnp.tanh(affine(params["cell"], x, carry))
    return carry, {"twice": 2.0 * carry}


def gru(params, carry, x):
    update = jax.nn.sigmoid(affine(params["update"], x, carry))
    reset = jax.nn.sigmoid(affine(params["reset"], x, carry))
    candidate = jnp.tanh(affine(params["candidate"], x, reset * carry))
    carry = update * carry + (1.0 - update) * candidate
    return carry, carry


def lstm(params, carry, x):
    gates = {name: affine(params[name], x, carry.hidden) for name in params}
    cell = jax.nn.sigmoid(gates["forget"] + 1.0) * carry.cell
    cell += jax.nn.sigmoid(gates["input"]) * jnp.tanh(gates["candidate"])
    hidden = jax.nn.sigmoid(gates["output"]) * jnp.tanh(cell)
    return LSTMCarry(cell, hidden), (hidden, cell * cell)


def counting_rnn(params, carry, x):
    """Integers, bools, keys, None and an empty tuple travel along; noise comes from the keys."""
    noise = jax.random.normal(x["key"], carry["state"].shape)
    embedded = params["embedding"][(x["token"] + carry["count"]) % 5] * x["scale"]
    state = jnp.tanh(affine(params["cell"], embedded, carry["state"]) + noise)
    state = jnp.where(carry["odd"], state, 1.25 * state)
    carry = {
        "state": state,
        "count": carry["count"] + 1,
        "odd": ~carry["odd"],
        "key": jax.random.fold_in(carry["key"], carry["count"]),
        "empty": (),
        "none": None,
    }
    return carry, (state, carry["count"], None, carry["key"], x["key"], carry["odd"])


def two_layers(params, carry, x):
    lower, upper = carry
    lower, y = tanh_rnn(params["lower"], lower, x)
    upper, y = tanh_rnn(params["upper"], upper, y["twice"])
    return (lower, upper), y


def complex_rnn(params, carry, x):
    rotation = jax.lax.complex(jnp.cos(params["angle"]), jnp.sin(params["angle"]))
    carry = carry * jnp.broadcast_to(rotation, carry.shape) + jax.lax.complex(x, x * x)
    return carry, carry * carry


def weights(key, *in_sizes, gain=1.5):
    keys = jax.random.split(key, len(in_sizes) + 1)
    kernels = [
        gain * jax.random.normal(k, (n, STATE)) for k, n in zip(keys, in_sizes, strict=False)
    ]
    return {"kernels": kernels, "bias": jax.random.normal(keys[-1], (STATE,))}


@functools.cache  # in float64, as every test that asks runs
def problem(name, num_steps):
    """The named recurrence over `num_steps` steps, with random cotangents for all its results."""
    key = jax.random.key(sum(map(ord, name)))
    keys = iter(jax.random.split(key, 16))
    state = jax.random.normal(next(keys), (BATCH, STATE))
    xs = jax.random.normal(next(keys), (num_steps, BATCH, EMBED))
    if name == "tanh_rnn":
        f, params, init = tanh_rnn, {"cell": weights(next(keys), EMBED, STATE)}, state
    elif name == "gru":
        gates = ("update", "reset", "candidate")
        f, init = gru, state
        params = {gate: weights(next(keys), EMBED, STATE) for gate in gates}
    elif name == "lstm":
        gates = ("input", "forget", "output", "candidate")
        f, init = lstm, LSTMCarry(state, 0.5 * state)
        params = {gate: weights(next(keys), EMBED, STATE) for gate in gates}
    elif name == "two_layers":
        f, init = two_layers, (state, 0.5 * state)
        lower = {"cell": weights(next(keys), EMBED, STATE)}
        params = {"lower": lower, "upper": {"cell": weights(next(keys), STATE, STATE)}}
    elif name == "counting_rnn":
        f = counting_rnn
        params = {"cell": weights(next(keys), EMBED, STATE)}
        params["embedding"] = jax.random.normal(next(keys), (5, EMBED))
        init = {"state": state, "count": jnp.int32(0), "odd": jnp.bool_(False)}
        init |= {"key": next(keys), "empty": (), "none": None}
        tokens = jax.random.randint(next(keys), (num_steps, BATCH), 0, 5, dtype=jnp.int32)
        xs = {"token": tokens, "key": jax.random.split(next(keys), num_steps), "scale": xs}
    elif name == "complex_rnn":
        f, params = complex_rnn, {"angle": jax.random.normal(next(keys), (STATE,))}
        init = jax.lax.complex(state, 0.5 * state)
        xs = jax.random.normal(next(keys), (num_steps, BATCH, STATE))
    else:
        raise ValueError(name)
    carry, ys = jax.lax.scan(lambda c, x: f(params, c, x), init, xs)
    return Problem(f, params, init, xs, *like((carry, ys), next(keys)))


def like(tree, key):
    """Random values in the floating-point and complex leaves of `tree`; zeros in the others."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(structure, [_like(x, k) for x, k in zip(leaves, keys, strict=True)])


def _like(leaf, key):
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
        return jax.random.normal(key, leaf.shape, leaf.dtype)
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.split(key, leaf.shape)
    return jnp.zeros_like(leaf)
