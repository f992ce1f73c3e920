"""Recurrences with elementwise carries; no gradient vanishes by luck."""

import functools

import cells
import jax
import jax.numpy as jnp

BATCH, STATE, EMBED = 2, 3, 2


def gated_average(params, carry, x):
    gate = jax.nn.sigmoid(x @ params["w"] + params["b"][None])
    carry = gate * carry + (1.0 - gate) * jnp.tanh(x @ params["v"])
    return carry, carry * carry


def spiking(params, carry, x):
    """Current into voltage: two leaves, one way."""
    voltage, current = carry
    current = 0.9 * current + x @ params["w"]
    voltage = params["b"][None] * jnp.tanh(voltage) + current
    return (voltage, current), voltage


def rotation(params, carry, x):
    """Two leaves that depend on each other."""
    u, v = carry
    sin, cos = jnp.sin(params["b"])[None], jnp.cos(params["b"])[None]
    u, v = 1.1 * (cos * u - sin * v) + x @ params["w"], 1.1 * (sin * u + cos * v)
    return (u, v * jnp.tanh(x @ params["v"])), (u * v,)


def diagonal_ssm(params, carry, x):
    """As in an LRU: complex, and complex-linear."""
    rotation = jax.lax.complex(jnp.cos(params["b"]), jnp.sin(params["b"]))[None]
    carry = 1.1 * rotation * carry + jax.lax.complex(x @ params["w"], x @ params["v"])
    return carry, (carry * carry).real


def conjugated(params, carry, x):
    """Complex, and linear over the real numbers alone."""
    factor = jax.lax.complex(1.3 * params["b"], params["b"])[None]
    carry = jnp.conj(carry) * factor + jax.lax.complex(x @ params["w"], jnp.abs(carry))
    return carry, carry * carry


def independent(params, carry, x):
    """A gated average beside a scalar sum and a count."""
    average, y = gated_average(params, carry["average"], x)
    total = 1.2 * carry["total"] + jnp.sum(x) * params["b"][0]
    return {"average": average, "total": total, "count": carry["count"] + 1}, (y, total)


CELLS = {
    f.__name__: f
    for f in (
        gated_average,
        spiking,
        rotation,
        diagonal_ssm,
        conjugated,
        independent,
    )
}


@functools.cache
def problem(name, num_steps):
    """The named recurrence over `num_steps` steps, with random cotangents for all its results."""
    keys = iter(jax.random.split(jax.random.key(sum(map(ord, name))), 9))
    normal = lambda *shape: jax.random.normal(next(keys), shape)
    params = {"w": normal(EMBED, STATE), "v": normal(EMBED, STATE), "b": normal(STATE)}
    state, xs = normal(BATCH, STATE), normal(num_steps, BATCH, EMBED)
    init = {
        "gated_average": state,
        "spiking": (state, 0.5 * state),
        "rotation": (state, 0.5 * state),
        "diagonal_ssm": jax.lax.complex(state, 0.5 * state),
        "conjugated": jax.lax.complex(state, 0.5 * state),
        "independent": {"average": state, "total": state[0, 0], "count": jnp.int32(0)},
    }[name]
    f = CELLS[name]
    carry, ys = jax.lax.scan(functools.partial(f, params), init, xs)
    return cells.Problem(f, params, init, xs, *cells.like((carry, ys), next(keys)))
