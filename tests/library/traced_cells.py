"""Cells that a trace is kept of, as their users write them, beside those of `elementwise_cells`."""

import functools

import cells
import elementwise_cells
import jax
import jax.numpy as jnp

from tbptt_jax import with_mask, with_resets

BATCH, STATE, EMBED = elementwise_cells.BATCH, elementwise_cells.STATE, elementwise_cells.EMBED


def min_gru(params, carry, x):
    """Both gates are one product; the readout is in the cell."""
    gate, candidate = jnp.split(x @ params["kernel"] + params["bias"][None], 2, axis=-1)
    gate = jax.nn.sigmoid(gate)
    carry = (1.0 - gate) * carry + gate * jnp.tanh(candidate)
    return carry, jnp.tanh(carry) @ params["readout"]


def lru(params, carry, x):
    """Complex, with a complex kernel and real parameters of the diagonal."""
    size, angle = jnp.exp(-jnp.exp(params["nu"])), params["theta"]
    diagonal = jax.lax.complex(size * jnp.cos(angle), size * jnp.sin(angle))
    gain = jnp.sqrt(1.0 - size**2)[None].astype(carry.dtype)
    carry = diagonal[None] * carry + gain * (x.astype(carry.dtype) @ params["kernel"])
    return carry, jnp.concatenate([carry.real, carry.imag], axis=-1) ** 2


@jax.custom_vjp
def spike(voltage):
    return (voltage > 0.0).astype(voltage.dtype)


spike.defvjp(
    lambda voltage: (spike(voltage), voltage), lambda v, ct: (ct / (1.0 + jnp.abs(v)) ** 2,)
)


def lif(params, carry, x):
    """A threshold with a surrogate gradient, and a reset by it."""
    decay = jax.nn.sigmoid(params["decay"])
    spikes = spike(carry - 0.3)
    voltage = decay[None] * carry * (1.0 - spikes) + x @ params["kernel"]
    return voltage, spike(voltage - 0.3)


def leaky(params, carry, x):
    """One decay for all entries."""
    carry = params["decay"] * carry + x @ params["kernel"]
    return carry, jnp.sin(carry)


def reset_and_masked(params, carry, x):
    """Flags of each sample; a document starts from a parameter."""
    x, flags = x[:, :EMBED], x[:, EMBED:] > 0.7
    cell = functools.partial(elementwise_cells.gated_average, params["cell"])
    step = with_resets(with_mask(cell), params["init"][None])
    return step(carry, ((x, ~flags[:, 0]), flags[:, 1]))


def with_embedding(params, carry, x):
    """Reads an embedding before the layer."""
    tokens = jnp.sum(x > 0, axis=-1)
    gate = jax.nn.sigmoid(params["embedding"][tokens] @ params["kernel"])
    carry = 1.1 * gate * carry + params["embedding"][tokens] @ params["kernel"]
    return carry, jnp.sin(carry)


def heads(params, carry, x):
    """A decay for each head of a carry in heads, beside a carry that is no number."""
    state, count = carry
    state = params["decay"][None, :, None] * state + (x @ params["kernel"]).reshape(state.shape)
    return (state, count + 1), jnp.where(count % 2 == 0, state, jnp.sin(state))


CELLS = {f.__name__: f for f in (min_gru, lru, lif, leaky, reset_and_masked, with_embedding, heads)}
NAMES = [*CELLS, *elementwise_cells.CELLS]


@functools.cache
def problem(name, num_steps):
    """The named recurrence over `num_steps` steps, with random cotangents for its outputs."""
    if name in elementwise_cells.CELLS:
        return elementwise_cells.problem(name, num_steps)
    keys = iter(jax.random.split(jax.random.key(sum(map(ord, name))), 9))
    normal = lambda *shape: jax.random.normal(next(keys), shape)
    state, xs = normal(BATCH, STATE), normal(num_steps, BATCH, EMBED)
    kernel = normal(EMBED, STATE)
    params, init = {
        "min_gru": lambda: (
            {
                "kernel": normal(EMBED, 2 * STATE),
                "bias": normal(2 * STATE),
                "readout": normal(STATE, 2),
            },
            state,
        ),
        "lru": lambda: (
            {
                "nu": normal(STATE) - 2.0,
                "theta": normal(STATE),
                "kernel": jax.lax.complex(kernel, normal(EMBED, STATE)),
            },
            jax.lax.complex(state, 0.5 * state),
        ),
        "lif": lambda: ({"kernel": kernel, "decay": 2.0 + normal(STATE)}, state),
        "leaky": lambda: ({"kernel": kernel, "decay": jnp.float64(1.1)}, state),
        "reset_and_masked": lambda: (
            {"cell": {"w": kernel, "v": -kernel, "b": normal(STATE)}, "init": normal(STATE)},
            state,
        ),
        "with_embedding": lambda: ({"embedding": normal(3, 4), "kernel": normal(4, STATE)}, state),
        "heads": lambda: (
            {"kernel": normal(EMBED, 4), "decay": normal(2)},
            (normal(BATCH, 2, 2), jnp.int32(0)),
        ),
    }[name]()
    if name == "reset_and_masked":
        xs = jnp.concatenate([xs, normal(num_steps, BATCH, 2)], axis=-1)
    f = CELLS[name]
    carry, ys = jax.lax.scan(functools.partial(f, params), init, xs)
    return cells.Problem(f, params, init, xs, *cells.like((carry, ys), next(keys)))
