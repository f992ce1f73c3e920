"""Products that are 0 where a factor is, whatever the other one is."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def as_product(
    fun: Callable[[jax.Array, jax.Array], jax.Array],
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """`fun(a, b)`, which is a · b but at zeros, with the derivatives of a product.

    Those of `jnp.where(b == 0, 0, a * b)` are 0 where b is, and so would be how the product changes
    with b. A factor that is inf or nan counts as 0 where the other is 0.
    """

    @jax.custom_jvp
    def product(a, b):
        return fun(a, b)

    @product.defjvp
    def derivative(factors, tangents):
        (a, b), (by_a, by_b) = factors, tangents
        return product(a, b), by_a * _beside(a, b) + _beside(b, a) * by_b

    return product


def _beside(zero, factor):
    return jnp.where((zero == 0) & ~jnp.isfinite(factor), 0, factor)
