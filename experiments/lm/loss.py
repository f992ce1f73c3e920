"""The loss of one sequence, and its gradient by any style of truncation."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from experiments.lm import models
from experiments.lm.settings import Settings
from tbptt_jax import init_stream, stream_scan, truncated_scan, windowed_value_and_grad


def make_loss(
    model: models.LanguageModel, settings: Settings, *, is_filled_up: bool = False
) -> Callable:
    """Builds (params, carry, (inputs, targets)) -> (loss, carry) for one sequence.

    The loss is the mean over the T·B tokens, and its gradient is BPTT(horizon; stride). The carry
    is what `first_carry` gives: that of the model, or the state of a stream without seams. Where
    `is_filled_up`, targets of -1 do not count, and there is no gradient by windows.
    """
    step = functools.partial(models.step, model)
    if settings.backward == "windows":
        run = _loss_by_windows(step, settings.schedule)
    else:
        mean_loss = functools.partial(models.mean_loss, is_filled_up=is_filled_up)
        run = _loss_by_sweeps(step, mean_loss, settings)

    def loss_fn(params, carry, batch):
        inputs, targets = batch
        loss, carry = run(params, carry, inputs, targets)
        if settings.carry == "dropped":
            last_masks = jax.tree.map(lambda leaf: leaf[-1], inputs.output_masks)
            carry = models.drop_carry(carry, last_masks)
        return loss, carry

    return loss_fn


def _loss_by_sweeps(step, mean_loss, settings):
    """The loss through `truncated_scan`, or `stream_scan`."""
    if settings.seams == "exact":
        scan = stream_scan
    else:
        _, horizon, stride, _ = settings.schedule
        options = {"horizon": horizon, "stride": stride, "tol": settings.tol or 0.0}
        scan = functools.partial(truncated_scan, **options)

    def run(params, carry, inputs, targets):
        carry, ys = scan(functools.partial(step, params), carry, inputs)
        return mean_loss(params, ys, targets), carry

    return run


def _loss_by_windows(step, schedule):
    """The same from the definition, slow."""
    mean_loss = lambda *args: models.mean_loss(*args) / schedule.seq_len
    value_and_grad = windowed_value_and_grad(
        step, mean_loss, horizon=schedule.horizon, stride=schedule.stride
    )

    @jax.custom_vjp
    def run(params, carry, inputs, targets):
        return value_and_grad(params, carry, inputs, targets)[0]

    def forward(*args):
        value, (grads, _, _) = value_and_grad(*args)
        return value, grads

    def backward(grads, errors):
        return jax.tree.map(lambda leaf: errors[0] * leaf, grads), None, None, None

    run.defvjp(forward, backward)
    return run


def first_carry(model: models.LanguageModel, settings: Settings, inputs: models.Inputs) -> Any:
    """The carry of an epoch's first sequence, for `make_loss`: zero, or the state of a stream.

    `inputs` are those of any sequence, for their types.
    """
    carry = models.init_carry(model, settings.batch_size)
    if settings.seams == "cut":
        return carry
    schedule = settings.schedule
    return init_stream(carry, inputs, horizon=schedule.horizon, stride=schedule.stride)
