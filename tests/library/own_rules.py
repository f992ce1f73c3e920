"""Steps that hold gradient rules of their own, `jax.custom_jvp` or `jax.custom_vjp`."""

import jax
import jax.numpy as jnp
import numpy as np
from any_steps import mixed


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


STEPS = [
    custom_jvp, empty_custom_jvp, straight_through_step, surrogate_spike, scaled_error,
    float0_of_a_rule, while_loop, pure_callback,
]  # fmt: skip
