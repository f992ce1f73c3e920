"""Steps made of whatever JAX offers: what `lax.scan` differentiates and `vmap` accepts.

All act on a carry [N] with inputs [N] and do not contract, so that no gradient vanishes by luck.
"""

import jax
import jax.numpy as jnp
from jax.experimental import checkify

N = 4


def mixed(w, c, x):
    """Where most steps start: an expanding linear map, bent."""
    return jnp.sin(c @ w) * 1.5 + x


def printing(w, c, x):
    c = mixed(w, c, x)
    jax.debug.print("{}", c.sum())
    return c, c


def calling_back(w, c, x):
    c = mixed(w, c, x)
    jax.debug.callback(lambda value: None, c)
    return c, c * c


def checking(w, c, x):
    c = mixed(w, c, x)
    checkify.debug_check(jnp.all(c < 1e9), "too large: {}", c[0])
    return c, c


def checkpointed(w, c, x):
    c = jax.checkpoint(mixed)(w, c, x)
    return c, c


def checkpoint_with_policy(w, c, x):
    policy = jax.checkpoint_policies.dots_saveable
    c = jax.checkpoint(lambda *args: jnp.tanh(2.0 * mixed(*args)), policy=policy)(w, c, x)
    return c, c


def nested_scan(w, c, x):
    c, ys = jax.lax.scan(lambda c, _: (mixed(w, c, x), c), c, None, length=2)
    return c, ys


def cond(w, c, x):
    c = jax.lax.cond(c[0] > 0.0, lambda c: mixed(w, c, x), lambda c: 1.2 * c - x, c)
    return c, c


def switch(w, c, x):
    branches = [lambda c: mixed(w, c, x), lambda c: c + x, lambda c: 1.1 * c]
    c = jax.lax.switch(jnp.int32(3.0 * jnp.abs(x[0])), branches, c)
    return c, c


def fori_loop(w, c, x):
    c = jax.lax.fori_loop(0, 3, lambda i, c: jnp.sin(c @ w) + i * x, c)
    return c, c


@jax.jit
def jitted_body(w, c, x):
    return mixed(w.T, c, x)


def jitted(w, c, x):
    c = jitted_body(w, c, x)
    return c, jax.nn.silu(c)


def linear_solve(w, c, x):
    c = jnp.linalg.solve(2.0 * jnp.eye(N) + 0.5 * w, 3.0 * c) + x
    return c, c


def cholesky(w, c, x):
    matrix = jnp.eye(N) + jnp.outer(c, c)
    c = jnp.linalg.cholesky(matrix) @ x + jnp.sin(c @ w)
    return c, jnp.linalg.slogdet(matrix)[1]


def fft(w, c, x):
    c = jnp.real(jnp.fft.ifft(jnp.fft.fft(c) * jnp.fft.fft(x))) + jnp.sin(c @ w)
    return c, c


def sort(w, c, x):
    c = jnp.sort(mixed(w, c, x))[::-1]
    return c, jnp.max(c)


def gather_and_scatter(w, c, x):
    at = jnp.argsort(x)
    c = jnp.zeros(N).at[at].add(mixed(w, c, x)[at[::-1]]) + 0.5 * c[at[0]]
    return c, jnp.cumsum(c)


def dynamic_slice(w, c, x):
    start = jnp.int32(2.0 * jnp.abs(x[0])) % N
    piece = jax.lax.dynamic_slice_in_dim(mixed(w, c, x), start, 2)
    return jax.lax.dynamic_update_slice_in_dim(1.2 * c, piece, 0, 0), piece


def convolution(w, c, x):
    c = jnp.convolve(c, w[0], mode="same") + x
    return c, c


def gelu_gate(w, c, x):
    gate, value = jnp.split(jnp.concatenate([c @ w, x * c]), 2)
    c = jax.nn.softplus(gate) * jnp.cos(value)
    return c, jax.nn.log_softmax(c)


def float0_corners(w, c, x):
    """An integer made from the carry, a leaf that no error reaches, one without entries."""
    state, count, held, empty = c
    new = mixed(w, state, x) + jax.lax.stop_gradient(held) * (count % 2)
    return (new, jnp.int32(new[0] > 0) + count, 2.0 * state, empty), (count, new, jnp.zeros(0))


def untouched_input(w, c, x):
    c = 1.2 * jnp.sin(c @ w)
    return c, jnp.float64(1.0)


def no_output(w, c, x):
    return mixed(w, c, x), None


def linear(w, c, x):
    """Whose pullback is the same at every step."""
    c = c @ w + x
    return c, c


def vector_field(t, y, args):
    """One function object, so that diffrax compiles its solve once."""
    w, x = args
    return jnp.sin(y @ w) + x


def diffeqsolve(w, c, x):
    """diffrax with its default adjoint."""
    import diffrax

    term, saveat = diffrax.ODETerm(vector_field), diffrax.SaveAt(t1=True)
    solution = diffrax.diffeqsolve(
        term, diffrax.Tsit5(), 0.0, 0.5, 0.1, c, args=(w, x), saveat=saveat
    )
    return solution.ys[0], solution.ys[0]


def heun_step(w, c, x):
    import diffrax

    term, solver = diffrax.ODETerm(vector_field), diffrax.Heun()
    state = solver.init(term, 0.0, 0.5, c, (w, x))
    c = solver.step(term, 0.0, 0.5, c, (w, x), state, made_jump=False)[0]
    return c, c


PLAIN = [
    printing, calling_back, checking, checkpointed, checkpoint_with_policy, nested_scan, cond,
    switch, fori_loop, jitted, linear_solve, cholesky, fft, sort, gather_and_scatter, dynamic_slice,
    convolution, gelu_gate, float0_corners, untouched_input, no_output, linear,
]  # fmt: skip
DIFFRAX = [diffeqsolve, heun_step]
