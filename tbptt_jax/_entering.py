"""What a way to the errors on the carries that enter the steps has to offer, piece by piece."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tbptt_jax._pullbacks import inexact


@dataclasses.dataclass(frozen=True)
class Entering:
    """ε, the errors on the carry that enters each step, from the last piece of time to the first.

    It is the errors' last step but one: where a horizon has a step alone, there are none.
    """

    def start(self, inputs: Any, y_ct: Any, own: Any) -> Any:
        """What the last piece gets of later ones.

        Args:
          inputs: the carry and the input of some step; the types count.
          y_ct: an error of its output.
          own: [...], an error on a carry.
        """

    def look_ahead(self, later: Any, first: Any, inputs: Any, ys_ct: Any, own: Any) -> Any:
        """What the pieces of a segment get beside it, from all steps of the segment."""

    def of_piece(
        self, later: Any, ahead: Any, first: Any, inputs: Any, ys_ct: Any, own: Any
    ) -> tuple[Any, Any]:
        """What an earlier piece gets, and ε of the steps of this one.

        Args:
          later: what this one gets.
          ahead: what `look_ahead` returned.
          first: the number of its first step.
          inputs: [n, ...], carries and inputs of the steps.
          ys_ct: [n, ...], the errors of their outputs.
          own: [...], the error on the sequence's last carry, zero before the last piece.
        """
        return later, jax.tree.map(jnp.zeros_like, inexact(inputs[0]))

    def after(self, later: Any, ahead: Any) -> Any:
        """What the segment before gets of a segment's last state."""
        return later
