"""A horizon for each epoch: the shortest whose gradients are not too biased."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.lm import models
from experiments.lm.epoch import Progress
from experiments.lm.settings import Settings
from experiments.lm.styles import horizons
from experiments.text.sequences import Sequences
from tbptt_jax import adaptive_horizon, lag_spectrum, truncation_bias

NUM_MEASURED = 4  # sequences


class Choice(NamedTuple):
    """A horizon, and the bound of its relative bias that it was chosen by."""

    horizon: jax.Array  # [], int32
    relative_bias: jax.Array  # [], float32: inf where there is no bound
    decay: jax.Array  # [], float32: β, by which errors shrink a step; nan where it cannot be told
    decay_error: jax.Array  # [], float32: its standard error

    def row(self) -> dict[str, Any]:
        """As numbers for JSON, None for those that are not finite."""
        numbers = {name: float(value) for name, value in self._asdict().items()}
        finite = {name: x if jnp.isfinite(x) else None for name, x in numbers.items()}
        return finite | {"horizon": int(self.horizon)}


def nothing_chosen(settings: Settings) -> Choice | None:
    """For the types of a choice; None where the horizon is given."""
    if settings.bias is None:
        return None
    return Choice(jnp.int32(0), *jnp.zeros((3,), jnp.float32))


def make_choose(
    model: models.LanguageModel, settings: Settings, text: Sequences, batch_fn: Callable
) -> Callable[[Progress, jax.Array], Progress]:
    """Builds (progress, key of its epoch) -> progress with a choice, made where an epoch begins.

    The first training sequences are taken as one, so that no seam cuts an error, and their
    gradient is measured with as many lags as the longest horizon has.

    Args:
      model: what is trained.
      settings: where their `bias` is None, nothing is chosen.
      text: the training text.
      batch_fn: ((slice, key), i) -> inputs and targets of its i-th sequence.
    """
    if settings.bias is None:
        return lambda progress, key: progress
    members, tolerance = horizons(settings.schedule.seq_len), settings.bias
    step = functools.partial(models.step, model)
    spectrum = lag_spectrum(step, models.mean_loss, horizon=members[-1], batched=True)
    num = min(NUM_MEASURED, text.num)

    @jax.jit
    def measure(params, part, key):
        batches = [batch_fn((part, key), i) for i in range(num)]
        inputs, targets = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *batches)
        carry = models.init_carry(model, settings.batch_size)
        bias = truncation_bias(spectrum(params, carry, inputs, targets), horizons=members)
        horizon, _ = adaptive_horizon(bias, tolerance=tolerance)
        relative = bias.relative[jnp.argmax(bias.horizons == horizon)]
        numbers = relative, bias.decay, bias.decay_error
        return Choice(horizon, *(x.astype(jnp.float32) for x in numbers))

    def choose(progress, key):
        if progress.position:
            return progress
        return progress._replace(choice=measure(progress.params, text.read(0, num), key))

    return choose


def of_epoch(settings: Settings, progress: Progress) -> Settings:
    """The settings with the horizon of the epoch under way."""
    if progress.choice is None:
        return settings
    horizon = int(progress.choice.horizon)
    return settings._replace(schedule=settings.schedule._replace(horizon=horizon))


def warning(choice: dict[str, Any], tolerance: float) -> str | None:
    """What is to be said where no horizon is known to be long enough.

    Args:
      choice: `Choice.row()`.
      tolerance: the largest relative bias that was asked for.
    """
    relative, decay, error = (choice[name] for name in ("relative_bias", "decay", "decay_error"))
    longest = f"the longest, {choice['horizon']}, is taken"
    if decay is None:
        return f"how errors decay cannot be told, so no bound of the bias exists; {longest}"
    if decay >= 1:
        said = f"errors grow by {decay:.3f} ± {error:.3f} a step"
        return f"{said}, so no bound of the bias exists; {longest}"
    if relative is None:
        return f"every bound of the bias is as large as the gradient itself; {longest}"
    if relative >= tolerance:
        return f"no horizon has a relative bias below {tolerance:g}; {longest}"
    return None
