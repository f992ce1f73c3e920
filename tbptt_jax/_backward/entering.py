"""The interface of the methods that find the errors on the carries that enter the steps."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tbptt_jax._pullback.of_steps import inexact


@dataclasses.dataclass(frozen=True)
class Entering:
    """A method to find ε, the truncated error on the carry that enters each step.

    It is called for one piece of consecutive steps after the other, from the last piece to the
    first, and may hand a value of its own choice, `later`, from each piece to the piece before it.
    A subclass is one method: sweeps, chains or sliding windows. This base class is horizon 1, where
    no error reaches an entering carry and ε is zero.
    """

    def start(self, inputs: Any, y_ct: Any, own: Any) -> Any:
        """`later` for the last piece.

        Args:
          inputs: the carry and the input of some step; the types count.
          y_ct: an error of its output.
          own: [...], an error on a carry.
        """

    def look_ahead(self, later: Any, first: Any, inputs: Any, ys_ct: Any, own: Any) -> Any:
        """`ahead`: what all pieces of a segment get beside `later`, found from all its steps."""

    def of_piece(
        self, later: Any, ahead: Any, first: Any, inputs: Any, ys_ct: Any, own: Any
    ) -> tuple[Any, Any]:
        """`later` for the piece before, and ε of the steps of this one.

        Args:
          later: as handed on by the piece after this one.
          ahead: what `look_ahead` returned.
          first: the number of its first step.
          inputs: [n, ...], carries and inputs of the steps.
          ys_ct: [n, ...], the errors of their outputs.
          own: [...], the error on the sequence's last carry, zero before the last piece.
        """
        return later, jax.tree.map(jnp.zeros_like, inexact(inputs[0]))

    def after(self, later: Any, ahead: Any) -> Any:
        """`later` for the last piece of the segment before."""
        return later
