"""One update of a learner, many in a compiled loop, and their checks."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from tbptt_jax._losses.blocks import accumulator
from tbptt_jax._pullback.of_steps import merge
from tbptt_jax._step.arguments import check_arrays, check_callable, check_flags
from tbptt_jax._step.mesh_axes import types_of, vary
from tbptt_jax._step.per_step import described, pair, real_scalar
from tbptt_jax._step.static_leaves import freeze, is_array, thaw
from tbptt_jax._training.donating import donating
from tbptt_jax._training.learner import LearnerState, Metrics

PAIR = jax.tree.structure((0, 0))


def jitted(name, step, donate, *others):
    """`step` on frozen states as a jitted step on states; `others` are its further arguments."""
    check_flags(name, donate=donate)
    compiled = donating(name, step) if donate else jax.jit(step)

    def call(state, *args):
        if not isinstance(state, LearnerState):
            raise TypeError(f"{name}: state must be a LearnerState, got {type(state).__name__}.")
        check_arrays(name, **dict(zip(others, args, strict=False)))
        params, opt_state, carry = state
        state = LearnerState(freeze(params, is_array), freeze(opt_state), freeze(carry))
        state, metrics = compiled(state, *args)
        return LearnerState(*map(thaw, state)), metrics

    return call


def make_update(name, loss_fn, optimizer, has_aux):
    """`(state, batch) -> (state, metrics)` on frozen states."""
    if not all(callable(getattr(optimizer, part, None)) for part in ("init", "update")):
        got = getattr(optimizer, "__name__", type(optimizer).__name__)
        raise TypeError(
            f"{name}: optimizer must have init and update, got {got}; was it called, as in "
            "optax.adam(1e-3)?"
        )
    loss_fn = checked(name, loss_fn, has_aux)

    def train_step(state, batch):
        params, opt_state, carry = map(thaw, state)
        trained = jax.tree.map(lambda leaf: leaf if _is_trained(leaf) else None, params)
        if not jax.tree.leaves(trained):
            raise ValueError(f"{name}: params must have a floating-point array, got none.")
        grad = jax.value_and_grad(
            lambda trained: loss_fn(merge(trained, params), carry, batch), has_aux=True
        )
        (loss, (carry, aux)), grads = grad(trained)
        grads = jax.tree.map(jnp.conj, grads)
        changes, opt_state = _update(name, optimizer, grads, opt_state, trained)
        add = lambda param, change: (param + change).astype(param.dtype)
        params = merge(jax.tree.map(add, trained, changes), params)
        state = LearnerState(freeze(params, is_array), freeze(opt_state), freeze(carry))
        return state, Metrics(loss, _norm(grads), aux)

    return train_step


def _update(name, optimizer, grads, opt_state, trained):
    """`optimizer.update`; its error names a state that was made of other parameters."""
    try:
        return optimizer.update(grads, opt_state, trained)
    except (TypeError, ValueError, AttributeError) as error:
        expected = jax.tree.structure(jax.eval_shape(optimizer.init, trained))
        if jax.tree.structure(opt_state) == expected:
            raise
        raise ValueError(
            f"{name}: opt_state must come from optimizer.init on the floating-point arrays of "
            "params alone, as in optimizer.init(eqx.filter(params, eqx.is_inexact_array))."
        ) from error


def checked(name, loss_fn, has_aux):
    """`loss_fn` as `(params, carry, batch) -> (loss, (carry, aux))`."""
    check_callable(name, "loss_fn", loss_fn, "params", "carry", "batch")
    check_flags(name, has_aux=has_aux)

    def checked(params, carry, batch):
        loss, rest = pair(name, "loss_fn", "(loss, carry)", loss_fn(params, carry, batch))
        if has_aux:
            rest = pair(name, "loss_fn with has_aux", "(loss, (carry, aux))", rest)
        elif _is_pair_with(carry, rest):
            raise TypeError(
                f"{name}: loss_fn must return a carry of the structure that it was given; "
                "has_aux=True is for (loss, (carry, aux))."
            )
        return real_scalar(name, loss), tuple(rest) if has_aux else (rest, None)

    return checked


def _is_pair_with(carry, rest):
    """Whether `rest` is a pair that begins with a carry where `carry` itself is none."""
    structure = jax.tree.structure
    is_pair = type(rest) is tuple and len(rest) == 2
    return is_pair and structure(rest) != structure(carry) == structure(rest[0])


def updates(name, update, batch_fn, state, source, start, stop):
    """The updates start..stop-1, and their mean metrics."""
    for bound in (start, stop):
        is_scalar = jax.tree.structure(bound) == jax.tree.structure(0) and not jnp.ndim(bound)
        if not is_scalar or not jnp.issubdtype(jnp.result_type(bound), jnp.integer):
            got = described(bound)
            raise TypeError(f"{name}: start and stop must be integers, got {got}.")
    start, stop = (i if jax.typeof(i).weak_type else jnp.asarray(i, int) for i in (start, stop))

    def one(i, loop):
        state, (totals, lost) = loop
        state, metrics = update(state, batch_fn(source, i))
        sums = jax.tree.map(_add_exactly, metrics, totals, lost)
        return state, jax.tree.transpose(jax.tree.structure(metrics), PAIR, sums)

    metrics = types_of(lambda: update(state, batch_fn(source, start))[1])
    zero = lambda leaf: vary(
        leaf.manual_axis_type.varying, jnp.zeros(leaf.shape, _mean_dtype(leaf))
    )
    zeros = jax.tree.map(zero, metrics)
    state, (totals, _) = jax.lax.fori_loop(start, stop, one, (state, (zeros, zeros)))
    num = jnp.asarray(stop - start)
    mean = lambda total: jnp.where(num > 0, total / num.astype(total.dtype), jnp.nan)
    return state, jax.tree.map(mean, totals)


def _is_trained(leaf):
    return is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.inexact)


def _mean_dtype(leaf):
    return accumulator(leaf) if jnp.issubdtype(leaf.dtype, jnp.inexact) else float


def _norm(grads):
    squares = (jnp.sum(jnp.abs(leaf).astype(float) ** 2) for leaf in jax.tree.leaves(grads))
    return jnp.sqrt(sum(squares))


def _add_exactly(value, total, lost):
    """Kahan's sum: what rounding loses is added next time, so millions of terms count."""
    value = value.astype(total.dtype) - lost
    new = total + value
    return new, jnp.where(jnp.isfinite(new), (new - total) - value, 0)
