"""Pullbacks on sensitivities: the same map, without its zeros."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tbptt_jax._trace.followed import followed
from tbptt_jax._trace.sensitivity import Sensitivity, of_steps, pulled

STEPS, BATCH, STATE, EMBED = 3, 2, 4, 5


def gate(w, x):
    return x @ w


def split_gates(w, x):
    a, b = jnp.split(x @ w, 2, axis=-1)
    return jax.nn.sigmoid(a) * jnp.tanh(b)


def sliced_gates(w, x):
    gates = x @ w
    return gates[:, :STATE] * gates[:, -STATE:]


def gates_of_two_sizes(w, x):
    gates = x @ w
    a, b = jnp.split(gates, [STATE], axis=-1)
    return a * b[:, :STATE] * b[:, STATE:]


def heads(w, x):
    """The carry as heads: the kernel's columns are cut in two and joined again."""
    return jnp.sin((x @ w).reshape(BATCH, 2, STATE // 2)).reshape(BATCH, STATE)


def joined_kernels(w, x):
    return jnp.concatenate([x, x], axis=-1) @ jnp.concatenate([w, 2.0 * w])


def transposed(w, x):
    return (w @ x.T).T


def per_sample(w, x):
    return w * x[:, :STATE]


def scale_shared_by_all(w, x):
    return w * x[:, :STATE]


def scale_of_a_sample(w, x):
    return w[:, None] * x[:, :STATE]


def through_complex_numbers(w, x):
    turned = jax.lax.complex(x @ w, x @ w) * jnp.full((BATCH, STATE), 0.6 + 0.8j)
    return turned.real - jnp.conj(turned).imag


def complex_kernel(w, x):
    return jnp.abs(jax.lax.complex(x, x) @ w)


def strided(w, x):
    return (x @ w)[:, ::2]


def dilated(w, x):
    return x @ jax.lax.pad(w, 0.0, [(0, 0, 1), (0, 0, 0)])


def summed_pairs(w, x):
    return jnp.sum((x @ w).reshape(BATCH, STATE, 2), axis=-1)


def masked(w, x):
    return jnp.where(x[:, :STATE] > 0, x @ w, 2.0 * (x @ w) / 3.0)


def hidden_layer(w, x):
    return jnp.tanh(x @ w) @ jnp.ones((3, STATE))


def embedding(w, x):
    return w[(x[:, 0] > 0).astype(int)]


def reversed_kernel(w, x):
    return x @ w[:, ::-1]


# By function: the parameter's shape and dtype, the free axes of what is kept of it.
CASES = {
    gate: ((EMBED, STATE), float, (EMBED,)),
    split_gates: ((EMBED, 2 * STATE), float, (EMBED, 2)),
    sliced_gates: ((EMBED, 3 * STATE), float, (EMBED, 3)),
    gates_of_two_sizes: ((EMBED, 3 * STATE), float, (EMBED, 3)),
    heads: ((EMBED, STATE), float, (EMBED, STATE)),
    joined_kernels: ((EMBED, STATE), float, (EMBED,)),
    transposed: ((STATE, EMBED), float, (EMBED,)),
    per_sample: ((BATCH, STATE), float, ()),
    scale_shared_by_all: ((), float, ()),
    scale_of_a_sample: ((BATCH,), float, ()),
    through_complex_numbers: ((EMBED, STATE), float, (EMBED,)),
    complex_kernel: ((EMBED, STATE), complex, (EMBED,)),
    strided: ((EMBED, 2 * STATE), float, (EMBED, 2 * STATE)),
    dilated: ((3, STATE), float, (3, STATE)),
    summed_pairs: ((EMBED, 2 * STATE), float, (EMBED, 2)),
    masked: ((EMBED, STATE), float, (EMBED,)),
    hidden_layer: ((EMBED, 3), float, (EMBED, 3)),
    embedding: ((2, STATE), float, (2, STATE)),
    reversed_kernel: ((EMBED, STATE), float, (EMBED, STATE)),
}


@functools.cache
def case(f):
    """A pullback of several steps under weighted errors: what it is, and its sensitivity."""
    shape, dtype, _ = CASES[f]
    keys = jax.random.split(jax.random.key(0), 4)
    w = jax.random.normal(keys[0], shape, dtype)
    xs = jax.random.normal(keys[1], (STEPS, BATCH, EMBED))
    weights = jax.random.normal(keys[2], (STEPS, BATCH, STATE))
    errors = jax.random.normal(keys[3], (BATCH, STATE))
    pull = jax.vjp(lambda w: jax.vmap(functools.partial(f, w))(xs), w)[1]
    jaxpr = jax.make_jaxpr(lambda errors: pull(errors)[0])(weights)
    return errors, pull(weights * errors[None])[0], followed(jaxpr, [of_steps(weights)])[0]


@pytest.mark.parametrize("f", CASES, ids=lambda f: f.__name__)
def test_sensitivity_is_the_pullback(f):
    errors, expected, found = case(f)
    assert isinstance(found, Sensitivity) and found.shape == expected.shape
    np.testing.assert_allclose(pulled(found, errors), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("f", CASES, ids=lambda f: f.__name__)
def test_sensitivity_holds_no_zeros_that_are_known(f):
    """An entry for each of the leaf's, times the free ones; all where nothing is known."""
    *_, found = case(f)
    assert found.coefs.shape[:2] == (BATCH, STATE)
    assert found.coefs.size == BATCH * STATE * math.prod(CASES[f][2])
