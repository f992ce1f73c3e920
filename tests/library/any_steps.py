"""Steps made of whatever JAX offers: what `lax.scan` differentiates and `vmap` accepts.

All act on a carry [N] with inputs [N] and do not contract, so that no gradient vanishes by luck.
"""

import functools
from typing import NamedTuple

import cells
import definition
import jax
import jax.numpy as jnp
import numpy as np
from gradients import largest_error, scan_gradients
from jax.experimental import checkify
from jax.flatten_util import ravel_pytree

from tbptt_jax import init_stream, stream_scan

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


@jax.custom_jvp
def bent(x):
    return 1.5 * jnp.sin(x)


bent.defjvp(lambda primals, tangents: (bent(*primals), 1.5 * jnp.cos(*primals) * tangents[0]))


def custom_jvp(w, c, x):
    c = bent(c @ w) + x
    return c, c


@jax.custom_jvp
def nothing():
    return ()


nothing.defjvp(lambda primals, tangents: ((), ()))


def empty_custom_jvp(w, c, x):
    nothing()
    c = mixed(w, c, x)
    return c, c


@jax.custom_vjp
def straight_through(x):
    return jnp.round(x)


straight_through.defvjp(lambda x: (jnp.round(x), None), lambda _, error: (error,))


def straight_through_step(w, c, x):
    c = straight_through(3.0 * mixed(w, c, x)) / 3.0
    return c, c * c


@jax.custom_vjp
def spike(v):
    return (v > 1.0).astype(v.dtype)


spike.defvjp(lambda v: (spike(v), v), lambda v, error: (error / (1.0 + jnp.abs(v - 1.0)) ** 2,))


def surrogate_spike(w, c, x):
    """A leaky neuron that fires and is reset; its gradient is a surrogate's."""
    v, fired = c
    v = 1.1 * v * (1.0 - fired) + fired @ w + x
    fired = spike(v)
    return (v, fired), fired


@jax.custom_vjp
def half_error(x):
    return x


half_error.defvjp(lambda x: (x, None), lambda _, error: (0.5 * error,))


def scaled_error(w, c, x):
    c = half_error(mixed(w, c, x))
    return c, c


@jax.custom_vjp
def integer_argument(x, times):
    return x * times


integer_argument.defvjp(
    lambda x, times: (x * times, times),
    lambda times, error: (error * times, np.zeros((), jax.dtypes.float0)),
)


def float0_of_a_rule(w, c, x):
    c = integer_argument(mixed(w, c, x), jnp.int32(1))
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


@jax.custom_vjp
def newton_root(a):
    """The square root of 1 + a², by iterations that JAX cannot differentiate in reverse."""

    def better(y):
        return 0.5 * (y + (1.0 + a * a) / y)

    return jax.lax.while_loop(
        lambda y: jnp.any(jnp.abs(y * y - 1.0 - a * a) > 1e-14 * (1 + a * a)), better, 1.0 + a * a
    )


newton_root.defvjp(
    lambda a: (y := newton_root(a), (a, y)), lambda kept, error: (error * kept[0] / kept[1],)
)


def while_loop(w, c, x):
    c = newton_root(mixed(w, c, x))
    return c, c


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


@jax.custom_jvp
def from_host(x):
    call = lambda x: np.sin(np.asarray(x)).astype(x.dtype)
    result = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return jax.pure_callback(call, result, x, vmap_method="expand_dims")


@from_host.defjvp
def _(primals, tangents):
    return from_host(*primals), jnp.cos(primals[0]) * tangents[0]


def pure_callback(w, c, x):
    c = 1.5 * from_host(c @ w) + x
    return c, c


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
    printing, calling_back, checking, custom_jvp, empty_custom_jvp, straight_through_step,
    surrogate_spike, scaled_error, float0_of_a_rule, checkpointed, checkpoint_with_policy,
    nested_scan, while_loop, cond, switch, fori_loop, jitted, linear_solve, cholesky, fft, sort,
    gather_and_scatter, dynamic_slice, convolution, gelu_gate, pure_callback, float0_corners,
    untouched_input, no_output, linear,
]  # fmt: skip
DIFFRAX = [diffeqsolve, heun_step]


@functools.cache
def problem(f, num_steps):
    """The step over `num_steps` random inputs, with random cotangents for all its results."""
    keys = jax.random.split(jax.random.key(1), 4)
    weights = 1.3 * jax.random.orthogonal(keys[0], N)
    carry = jax.random.normal(keys[1], (N,))
    xs = jax.random.normal(keys[2], (num_steps, N))
    if f is surrogate_spike:
        carry = carry, jnp.zeros(N)
    if f is float0_corners:
        carry = carry, jnp.int32(0), carry, jnp.zeros((0, 3))
    results = jax.lax.scan(lambda c, x: f(weights, c, x), carry, xs)
    return cells.Problem(f, weights, carry, xs, *cells.like(results, keys[3]))


class Comparison(NamedTuple):
    """How far a step's gradients are from the definition's, and from those of `lax.scan`."""

    norm: float
    error: float
    error_of_stream: float
    difference_from_full: float


def compare(f, num_steps, horizon, stride):
    """For the parameters, the initial carry and the inputs; in a stream, which is one chunk."""
    whole = problem(f, num_steps)
    once = whole._replace(f=jax.jit(f))  # traced and compiled once for all its steps
    expected = definition.truncated_gradients(*once, horizon=horizon, stride=stride)
    stateless = whole._replace(carry_ct=jax.tree.map(jnp.zeros_like, whole.carry_ct))

    def of_stream(params, xs):
        state = init_stream(whole.init, xs, horizon=horizon, stride=stride, shortest_chunk=1)
        _, ys = stream_scan(functools.partial(f, params), state, xs, last=True)
        return jnp.float64(0.0) + definition.inner(whole.ys_ct, ys)

    params, xs = jax.jit(jax.grad(of_stream, argnums=(0, 1)))(whole.params, whole.xs)
    of_outputs = scan_gradients(stateless, horizon, stride)
    return Comparison(
        float(jnp.linalg.norm(ravel_pytree((expected[0], expected[2]))[0])),
        largest_error(scan_gradients(whole, horizon, stride), expected),
        largest_error((params, xs), (of_outputs[0], of_outputs[2])),
        largest_error(scan_gradients(whole, None, 1), expected),
    )
