"""Products that are 0 where a factor is, whatever the other one is."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def as_product(
    fun: Callable[[jax.Array, jax.Array], jax.Array],
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """`fun(a, b)`, which is a · b but at zeros, with the derivatives of a product.

    Those of `jnp.where(b == 0, 0, a * b)` are 0 where b is, and so would be how the product changes
    with b. Where the other factor is inf or nan they are 0 still.
    """

    @jax.custom_jvp
    def product(a, b):
        return fun(a, b)

    @product.defjvp
    def derivative(factors, tangents):
        (a, b), (by_a, by_b) = factors, tangents
        hidden = ((a == 0) | (b == 0)) & ~(jnp.isfinite(a) & jnp.isfinite(b))
        a, b = (jnp.where(hidden, 0, factor) for factor in factors)
        return product(*factors), jnp.where(hidden, 0, by_a * b + a * by_b)

    return product
