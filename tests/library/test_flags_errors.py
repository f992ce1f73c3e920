"""Flags of resets and masks that do not fit."""

import jax.numpy as jnp
import pytest

from tbptt_jax import with_mask, with_resets


@pytest.mark.parametrize(
    "step, error, text",
    [
        (
            lambda: with_resets(lambda c, x: (c, x), 0.0)(jnp.ones((3, 8)), (1.0, jnp.ones(4) > 0)),
            ValueError,
            "with_resets: the carry's leaves must begin with the flags' axes [4], got [3, 8].",
        ),
        (
            lambda: with_resets(lambda c, x: (c, x), 0.0)(jnp.ones(3), (1.0, jnp.ones(3))),
            TypeError,
            "with_resets: flags must be bool, got float64.",
        ),
        (
            lambda: with_mask(lambda c, x: (c, x))(jnp.ones(3), (jnp.ones(2), jnp.ones(3) > 0)),
            ValueError,
            "with_mask: the input's leaves must begin with the flags' axes [3], got [2].",
        ),
        (
            lambda: with_mask(lambda c, x: (c, jnp.sum(x)))(
                jnp.ones(3), (jnp.ones(3), jnp.ones(3) > 0)
            ),
            ValueError,
            "with_mask: the output's leaves must begin with the flags' axes [3], got [].",
        ),
        (
            lambda: with_mask(lambda c, x: (c[:1], x))(jnp.ones(3), (jnp.ones(3), jnp.ones(3) > 0)),
            TypeError,
            "with_mask: f must return the carry with the types it was given, float64[3], got "
            "float64[1].",
        ),
        (
            lambda: with_mask(lambda c, x: ((c, c), x))(
                jnp.ones(3), (jnp.ones(3), jnp.ones(3) > 0)
            ),
            TypeError,
            "with_mask: the carry that f returns must be of the carry's structure, "
            "PyTreeDef(*), got PyTreeDef((*, *)).",
        ),
        (
            lambda: with_resets(lambda c, x: (c, x), 0.5)(jnp.arange(3), (1.0, jnp.ones(3) > 0)),
            TypeError,
            "with_resets: init must be of the carry's dtype int64, got float64.",
        ),
        (
            lambda: with_resets(lambda c, x: (c, x), 2 + 1j)(jnp.ones(3), (1.0, jnp.ones(3) > 0)),
            TypeError,
            "with_resets: init must be of the carry's dtype float64, got complex128.",
        ),
        (
            lambda: with_resets(lambda c, x: (c, x), 300)(jnp.int8(1), (1.0, jnp.array(True))),
            TypeError,
            "with_resets: init must be of the carry's dtype int8, got 300.",
        ),
        (
            lambda: with_resets(lambda c, x: (c, x), jnp.ones((2, 3)))(
                jnp.ones(3), (1.0, jnp.ones(3) > 0)
            ),
            ValueError,
            "with_resets: init's leaves must broadcast to the carry's, [3], got [2, 3].",
        ),
        (
            lambda: with_resets(lambda c, x: (c, x), (0.0, 0.0))(
                jnp.ones(3), (1.0, jnp.ones(3) > 0)
            ),
            TypeError,
            "with_resets: init must be of the carry's structure, PyTreeDef(*), got "
            "PyTreeDef((*, *)).",
        ),
    ],
)
def test_flags_that_do_not_fit_fail_in_one_line(step, error, text):
    with pytest.raises(error) as raised:
        step()
    assert str(raised.value) == text
