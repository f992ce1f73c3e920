"""The pullbacks of steps to the carry that enters them: linearised once, applied often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from tbptt_jax._pullback.of_steps import pullback, split
from tbptt_jax._pullback.simplified import repeated_pullback


class Linearised(NamedTuple):
    """Steps' pullbacks to the carry.

    Attributes:
      of: carries and inputs [n, ...], output errors [n, ...], an error on the last carry [...] ->
        what the pullback of each step keeps [n, ...], and b [n, ...]: the steps' own errors on the
        carry that enters them.
      back: what n pullbacks keep, errors on the carry that leaves each step -> that enters it.
    """

    of: Callable[[Any, Any, Any], tuple[Any, Any]]
    back: Callable[[Any, Any], Any]


def linearised(
    step: Callable[[Any, Any, Any], tuple[Any, Any]], constants: Any, carry: Any, x: Any
) -> Linearised:
    """The pullbacks of a step.

    Args:
      step: `(constants, carry, x) -> (carry, y)`.
      constants: what every step reads.
      carry: that of some step; only shapes and dtypes are used.
      x: as `carry`.
    """

    def of_new_carry(inputs):
        carry, x = inputs
        return repeated_pullback(lambda carry: step(constants, carry, x)[0], carry)

    def of_output(inputs):
        carry, x = inputs
        return pullback(lambda carry: step(constants, carry, x)[1], carry)

    jacobian = split(of_new_carry, jax.tree.map(lambda leaf: leaf[None], (carry, x)))
    back_one = lambda of_one, error: jacobian.apply(of_one, error)[0]
    one_step = lambda inputs, y_ct: (jacobian.of_one(inputs), of_output(inputs)(y_ct)[0])

    def of(inputs, ys_ct, own):
        of_each, b = jax.vmap(one_step)(inputs, ys_ct)
        of_last = back_one([leaf[-1] for leaf in of_each], own)
        return of_each, jax.tree.map(lambda b, error: b.at[-1].add(error), b, of_last)

    return Linearised(of, jax.vmap(back_one))
