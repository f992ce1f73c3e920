"""Optimizers by name, on optax's schedules of the learning rate."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import optax

from experiments.lm.settings import Settings
from experiments.record.errors import UserError

OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adam": optax.adam,
    "adamw": optax.adamw,
    "lion": optax.lion,
    "momentum": functools.partial(optax.sgd, momentum=0.9),
    "rmsprop": optax.rmsprop,
    "sgd": optax.sgd,
}
OPTIONS = {"weight_decay": "weight_decay", "epsilon": "eps"}  # as optax has them
SCHEDULES = ("constant", "cosine", "halving", "linear", "warmup_cosine")
CONSTANT_EPOCHS = 4  # of "halving", as in Zaremba et al. (2014)


def make(settings: Settings, num_updates: int) -> optax.GradientTransformation:
    """The optimizer of a run of `num_updates` updates.

    The structure of its state does not depend on that number; by default it is `optax.adam`'s.

    Args:
      settings: the optimizer's name, learning rate and its schedule, clipping and options.
      num_updates: of the whole run, which the schedule of the learning rate spans.

    Raises:
      UserError: the optimizer has no such option, or the warm-up does not fit.
    """
    kwargs: dict[str, Any] = {}
    for name, keyword in OPTIONS.items():
        value = getattr(settings, name)
        if value is not None:
            _check_option(settings, name, keyword)
            kwargs[keyword] = value
    optimizer = OPTIMIZERS[settings.optimizer](_learning_rate(settings, num_updates), **kwargs)
    if settings.clip_norm is None:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(settings.clip_norm), optimizer)


def _learning_rate(settings, num_updates):
    """A number, or optax's schedule from it to 0 at the end of the run."""
    rate, warmup = settings.learning_rate, settings.warmup_updates
    if settings.lr_schedule == "warmup_cosine":
        warmup = num_updates // 10 if warmup is None else warmup
        if warmup >= num_updates:
            raise UserError(
                f"--warmup_updates={warmup} is not below the run's {num_updates} updates; shorten "
                "the warm-up, or raise --num_epochs."
            )
        return optax.warmup_cosine_decay_schedule(0.0, rate, warmup, num_updates)
    if warmup is not None:
        raise UserError(
            f"--warmup_updates goes with --lr_schedule=warmup_cosine, not {settings.lr_schedule}."
        )
    if settings.lr_schedule == "cosine":
        return optax.cosine_decay_schedule(rate, num_updates)
    if settings.lr_schedule == "halving":
        per_epoch = num_updates // settings.num_epochs
        halvings = {e * per_epoch: 0.5 for e in range(CONSTANT_EPOCHS, settings.num_epochs)}
        return optax.piecewise_constant_schedule(rate, halvings)
    if settings.lr_schedule == "linear":
        return optax.linear_schedule(rate, 0.0, num_updates)
    return rate


def _check_option(settings, name, keyword):
    takes = lambda make: keyword in inspect.signature(make).parameters
    having = [optimizer for optimizer, make in OPTIMIZERS.items() if takes(make)]
    if settings.optimizer not in having:
        raise UserError(
            f"--{name} goes with --optimizer={' or '.join(having)}, not {settings.optimizer}."
        )
