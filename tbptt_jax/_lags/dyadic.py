"""A gradient split by powers of two of the lag, where a step's Jacobian is elementwise."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tbptt_jax._backward.affine_windows import Maps, apply, compose, each_its_own, identity
from tbptt_jax._backward.norms import l2_of, norms_of
from tbptt_jax._backward.window_errors import maps_of_steps
from tbptt_jax._lags.cell_backward import Backward, backward
from tbptt_jax._lags.spectrum import LagSpectrum
from tbptt_jax._pullback.elementwise import Elementwise, Mixed, coupling, elementwise
from tbptt_jax._pullback.of_steps import inexact
from tbptt_jax._step.arguments import check_flags
from tbptt_jax._step.time_axis import add, take

NAME = "dyadic_lag_spectrum"


def dyadic_lag_spectrum(
    cell: Callable[[Any, Any, Any], tuple[Any, Any]],
    sequence_loss_fn: Callable[[Any, Any, Any], jax.Array],
    *,
    parts: bool = False,
) -> Callable[[Any, Any, Any, Any], LagSpectrum]:
    """The parameters' gradient, split by lags 0, 1, 2-3, 4-7, ..., up to the whole sequence.

    With gₖ the part of the gradient at lag k (see `lag_spectrum`), group n holds

        g₀ for n = 0,   Σ gₖ over 2ⁿ⁻¹ ≤ k < 2ⁿ for n ≥ 1

    so the first n + 1 groups add up to the gradient of true truncated BPTT with horizon 2ⁿ, and all
    of them to full BPTT. It is for cells whose Jacobian of the carry is elementwise, as
    `truncated_scan` describes them. What 2ⁿ consecutive steps do to an error is then an affine map
    for each entry, made of two maps of 2ⁿ⁻¹ steps; so all groups come from log₂ T compositions of T
    maps and log₂ T pullbacks of all steps to the parameters, in place of the T sweeps of
    `lag_spectrum`. No group is a difference of others, so that small ones keep their digits.

    Args:
      cell: as in `lag_spectrum`; it must not mix the entries of its carry.
      sequence_loss_fn: as in `lag_spectrum`.
      parts: as in `lag_spectrum`.

    Returns:
      A function `(params, init, xs, targets) -> LagSpectrum`, for `jax.jit`; [1 + ⌈log₂ T⌉] groups
      are in place of the lags, and `errors` is None. Of `effective_horizon`'s result n for them,
      2ⁿ⁻¹ is the horizon.

    Raises:
      ValueError: the function that is returned, where the cell is not elementwise:
        `dyadic_lag_spectrum: cell mixes the entries of its carry (dot_general); use lag_spectrum.`
      TypeError, ValueError: the function that is returned, as that of `lag_spectrum`.

    Example:
      >>> import jax.numpy as jnp
      >>> from tbptt_jax import dyadic_lag_spectrum
      >>> step = lambda w, c, x: (w * c + x, w * c + x)
      >>> last = lambda w, ys, _: ys[-1]
      >>> spectrum = dyadic_lag_spectrum(step, last)(0.5, 0.0, jnp.ones(8), None)
      >>> print(spectrum.l1)  # lags 0, 1, 2-3, 4-7
      [1.984375 0.984375 0.71875  0.171875]
    """
    check_flags(NAME, parts=parts)

    def spectrum(params, init, xs, targets):
        run = backward(NAME, cell, sequence_loss_fn, params, init, xs, targets)
        kind = _elementwise(run)
        no_carry_ct, no_ys_ct = jax.tree.map(jnp.zeros_like, (inexact(run.carries), run.ys_ct))
        part = add(run.pull((no_carry_ct, run.ys_ct))[0], run.own)

        def found(part, so_far):
            kept = part if parts else None
            return LagSpectrum(*norms_of(part), cumulative_l2=l2_of(so_far), parts=kept)

        def group(state, size):
            maps, so_far = state
            errors, maps = _errors_of_group(maps, size)
            part = run.pull((kind.from_parts(errors), no_ys_ct))[0]
            so_far = add(so_far, part)
            return (maps, so_far), found(part, so_far)

        num_steps = len(jax.tree.leaves(run.xs)[0])
        sizes = 2 ** jnp.arange((num_steps - 1).bit_length())
        rest = jax.lax.scan(group, (_maps_of_steps(run, kind), part), sizes)[1]
        join = lambda one, more: jnp.concatenate([one[None], more])
        return jax.tree.map(join, found(part, part), rest)

    return spectrum


def _elementwise(run: Backward) -> Elementwise:
    first = run.step, run.params, *take((run.carries, run.xs), 0)
    kind = elementwise(*first)
    if kind is None:
        found = coupling(*first)
        why = (
            f"mixes the entries of its carry ({found.primitive})"
            if isinstance(found, Mixed)
            else "couples too many leaves of its carry, or some of different dtypes or no entries"
        )
        raise ValueError(f"{NAME}: cell {why}; use lag_spectrum.")
    return kind


class Doubling(NamedTuple):
    """What 2ⁿ steps do to errors, [T, ...].

    Attributes:
      from_here: the map of the 2ⁿ steps from each on.
      between: that of the 2ⁿ - 1 steps after each; its factors count alone.
    """

    from_here: Maps
    between: Maps


def _maps_of_steps(run: Backward, kind: Elementwise) -> Doubling:
    own = jax.tree.map(jnp.zeros_like, inexact(take(run.carries, 0)))
    inputs = run.carries, run.xs
    maps = each_its_own(maps_of_steps(run.step, kind, run.params, inputs, run.ys_ct, own))
    return Doubling(maps, identity(maps))


def _errors_of_group(maps: Doubling, size: jax.Array) -> tuple[list[jax.Array], Doubling]:
    """The errors of lags 2ⁿ to 2ⁿ⁺¹ - 1 on the carry that leaves each step, and the maps for n + 1.

    They start in the `size` = 2ⁿ steps that begin `size` steps later; the steps between pass them
    on.
    """
    later = jax.tree.map(functools.partial(_of_later, size), maps.from_here)
    errors = apply(maps.between.a, later.b)
    doubled = Doubling(compose(maps.from_here, later), compose(maps.between, later))
    return [errors[i] for i in sorted(errors)], doubled


def _of_later(by, leaf):
    """In each place what is so many places later, and 0 beyond the end."""
    return jax.lax.dynamic_slice_in_dim(
        jnp.concatenate([leaf, jnp.zeros_like(leaf)]), by, len(leaf)
    )
