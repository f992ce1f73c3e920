"""Evaluation on sequences: the mean loss of a text."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from experiments.lm import mesh as devices
from experiments.lm import models
from experiments.lm.epoch import progress_bar
from experiments.lm.loss import first_carry
from experiments.lm.settings import Settings
from tbptt_jax import make_eval_step


def make_evaluate(
    model: models.LanguageModel, settings: Settings, mesh: Mesh | None = None
) -> Callable:
    """Builds (params, sequences) -> mean loss over their words, without dropout."""
    schedule = settings.schedule._replace(horizon=1, stride=1)  # no gradient, so no past to keep
    settings = settings._replace(schedule=schedule, backward="sweeps", keep_prob=1.0)
    is_filled_up = settings.evaluate == "all"
    loss_fn = devices.make_loss(mesh, model, settings, is_filled_up=is_filled_up)
    eval_step = make_eval_step(loss_fn)

    @jax.jit
    def evaluate_slice(params, carry, part, num):
        def one(i, loop):
            carry, losses = loop
            batch = models.Inputs(part.inputs[i]), part.targets[i]
            carry, metrics = eval_step(params, carry, batch)
            return carry, losses.at[i].set(metrics.loss)

        losses = jnp.zeros(len(part.inputs))
        counts = jnp.sum(part.targets >= 0, axis=(1, 2))
        return *jax.lax.fori_loop(0, num, one, (carry, losses)), counts

    def evaluate(params, text):
        carry = devices.place_carry(mesh, model, settings, first_carry(model, settings))
        losses, counts = [], []
        with progress_bar(text, "evaluation") as bar:
            for part, num in text.slices():
                part = devices.place_slice(mesh, settings.batch_size, part)
                carry, *of_slice = evaluate_slice(params, carry, part, num)
                found = [np.asarray(leaf)[:num] for leaf in of_slice]  # waits: one in memory
                losses.append(found[0])
                counts.append(found[1])
                bar.update(num * text.num_tokens_of_sequence)
        mean = np.average(np.concatenate(losses), weights=np.concatenate(counts))
        return np.float32(mean)  # as it is kept

    return evaluate
