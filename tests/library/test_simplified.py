"""Pullbacks that are simplified are the same linear map, in as few operations as are needed."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import largest_error

from tbptt_jax._pullback.nodes import Product
from tbptt_jax._pullback.of_steps import inexact, pullback
from tbptt_jax._pullback.simplified import repeated_pullback, simplified

B, N = 2, 3
KEYS = jax.random.split(jax.random.key(0), 8)


def random(i, *shape):
    return jax.random.normal(KEYS[i], shape)


def kernel(i, rows=N, columns=N):
    return random(i, rows, columns)


def products(pull):
    """The shapes of the kernels of a simplified pullback."""
    steps, _, _ = pull.func.args
    return [pull.args[0][known[0]].shape for node, _, known in steps if isinstance(node, Product)]


def of_new_carry(step, carry):
    errors = jax.eval_shape(lambda carry: inexact(step(carry)), carry)
    return simplified(pullback(step, carry), errors)


def check_same_map(step, carry):
    found = of_new_carry(step, carry)
    assert found is not None
    errors = jax.tree.map(lambda leaf: random(7, *leaf.shape), step(carry))
    assert largest_error(found(errors), pullback(step, carry)(errors)) < 1e-14
    return found


def split_gates(c):
    a, b, d = jnp.split(c @ kernel(1, N, 3 * N), 3, axis=1)
    return jnp.tanh(a) * b + jax.nn.sigmoid(d) * c


def overlapping_slices(c):
    wide = c @ kernel(1, N, 5)
    return wide[:, :3] * wide[:, 1:4] + jnp.sin(wide[:, 2:])


def two_products_of_one_array(c):
    c = jnp.sin(c)
    return (c @ kernel(1)) * jnp.cos(c @ kernel(2, N, N))


def sum_of_products(c):
    return jnp.sin(c) @ kernel(1) + jnp.cos(c) @ kernel(2) + c


def padded(c):
    wide = jnp.pad(c, ((0, 0), (1, 2))) @ kernel(1, N + 3, N)
    return jnp.sin(wide)


def kernel_first(c):
    return jax.vmap(lambda row: jnp.tanh(kernel(1) @ row))(c)


def transposed(c):
    return jnp.sin(kernel(1) @ c.T).T * c


def concatenated_columns(c):
    both = jnp.concatenate([jnp.sin(c).T, jnp.cos(c).T])
    return (kernel(1, N, 2 * N) @ both).T


def masked(c):
    return jnp.where(random(2, B, 1) > 0, jnp.tanh(c @ kernel(1)), c) / 3.0


def normalised(c):
    centred = c - jnp.mean(c, axis=1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(centred**2, axis=1, keepdims=True) + 0.1)


def jitted(c):
    return jax.jit(lambda c: jnp.sin(c @ kernel(1)) - 2.0 * c)(c)


def several_heads(c):
    return jnp.einsum("bhd,hde->bhe", jnp.sin(c[:, None]), random(1, 1, N, N))[:, 0] - c


def rolled_by_nothing(c):
    return jnp.roll(c, 0, axis=1) @ kernel(1) + jnp.roll(c @ kernel(2), 0, axis=0)


def empty_parts(c):
    none = (c @ kernel(1))[:, 1:1]
    both = jnp.concatenate([none, jnp.pad(none, ((0, 0), (0, 0)))], axis=1)
    return jnp.concatenate([both, jnp.sin(c)], axis=1)


def unread(c):
    return c @ kernel(1) + 0.0 * jnp.flip(c)


STEPS = [
    split_gates,
    overlapping_slices,
    two_products_of_one_array,
    sum_of_products,
    padded,
    kernel_first,
    transposed,
    concatenated_columns,
    masked,
    normalised,
    jitted,
    several_heads,
    rolled_by_nothing,
    empty_parts,
    unread,
]


@pytest.mark.parametrize("first, second", [*itertools.pairwise([*STEPS, STEPS[0]])])
def test_simplified_pullback_is_the_same_map(first, second):
    check_same_map(first, random(0, B, N))
    both = lambda c: (first(c[1]), second(jnp.sin(c[0])) * c[1])
    check_same_map(both, (random(0, B, N), random(3, B, N)))


def test_a_lower_precision_is_kept():
    cast = lambda c: jnp.tanh(c.astype(jnp.bfloat16) @ kernel(1).astype(jnp.bfloat16))
    step, c = lambda c: cast(c).astype(c.dtype), random(0, B, N)
    found, (expected,) = of_new_carry(step, c)(c), pullback(step, c)(c)
    assert largest_error(found[0], expected) < 2e-2


@pytest.mark.parametrize(
    "step, kernels",
    [
        (lambda c: jnp.tanh(jnp.concatenate([random(2, B, 9), c], 1) @ kernel(1, 9 + N)), [(N, N)]),
        (lambda c: jnp.tanh(jnp.concatenate([c, random(2, B, 9)], 1) @ kernel(1, 9 + N)), [(N, N)]),
        (split_gates, [(3 * N, N)]),
        (sum_of_products, [(N, 2 * N)]),
        (two_products_of_one_array, [(2 * N, N)]),
        (kernel_first, [(N, N)]),
    ],
)
def test_products_have_no_rows_that_are_dropped_and_are_one(step, kernels):
    carry = random(0, B, N)
    assert products(of_new_carry(step, carry)) == kernels


UNKNOWN = {
    "sort": lambda c: jnp.sort(c @ kernel(1), axis=1),
    "loop": lambda c: jax.lax.fori_loop(0, 2, lambda _, c: jnp.sin(c @ kernel(1)), c),
    "branch": lambda c: jax.lax.cond(c[0, 0] > 0, jnp.sin, jnp.cos, c),
    "checkpoint": lambda c: jax.checkpoint(lambda c: jnp.sin(c @ kernel(1)))(c),
    "half precision": lambda c: (c.astype(jnp.float16) * jnp.float16(2)).astype(c.dtype),
    "complex": lambda c: jnp.fft.fft(c).real,
}


@pytest.mark.parametrize("step", UNKNOWN.values(), ids=UNKNOWN)
def test_unknown_operation_leaves_the_pullback(step):
    c = random(0, B, N)
    assert of_new_carry(step, c) is None
    assert largest_error(repeated_pullback(step, c)(c), pullback(step, c)(c)) < 1e-14


OPERATIONS = [
    lambda a, b, i: jnp.sin(a),
    lambda a, b, i: jnp.sin(a) * b,
    lambda a, b, i: a - 2.0 * b,
    lambda a, b, i: a @ kernel(i),
    lambda a, b, i: (kernel(i) @ a.T).T,
    lambda a, b, i: jnp.concatenate([a, b], 1) @ kernel(i, 2 * N, N),
    lambda a, b, i: (a @ kernel(i, N, N + 2))[:, 1 : 1 + N],
    lambda a, b, i: sum(jnp.split(a @ kernel(i, N, 2 * N), 2, axis=1)),
    lambda a, b, i: jnp.pad(a[:, 1:], ((0, 0), (0, 1))) + b,
    lambda a, b, i: jnp.where(random(i, B, N) > 0, a, b),
    lambda a, b, i: a[::-1] + jnp.mean(b, axis=0, keepdims=True),
    lambda a, b, i: jnp.cumsum(a, axis=1).reshape(N, B).reshape(B, N),
    lambda a, b, i: jnp.concatenate([a, jnp.sin(b)])[1 : 1 + B],
    lambda a, b, i: jnp.sort(a, axis=1),
]


@pytest.mark.parametrize("seed", range(12))
def test_pullback_of_random_operations_is_the_same_map(seed):
    """An operation that is not listed, one in fourteen, leaves the general form."""
    rng = np.random.default_rng(seed)
    chosen = [(int(rng.integers(len(OPERATIONS))), *rng.random(2)) for _ in range(8)]

    def step(carry):
        values = list(carry)
        for i, first, second in chosen:
            a, b = (values[int(at * len(values))] for at in (first, second))
            values.append(OPERATIONS[i](a, b, i % 7))
        return values[-2:]

    carry = [random(0, B, N), random(3, B, N)]
    errors = [random(5, B, N), random(7, B, N)]
    expected = jax.jit(pullback(step, carry))(errors)
    assert largest_error(jax.jit(repeated_pullback(step, carry))(errors), expected) < 1e-13
