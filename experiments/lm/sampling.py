"""Text drawn from a language model, token by token."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from experiments.lm import models


@functools.partial(jax.jit, static_argnums=(0, 3))
def sample(
    model: models.LanguageModel,
    params: Any,
    prompt: jax.Array,
    length: int,
    temperature: jax.Array | float,
    key: jax.Array,
) -> jax.Array:
    """Draws the tokens that follow a prompt.

        tokenₛ ~ softmax(logitsₛ / temperature);   the likeliest at temperature 0

    Args:
      model: the model.
      params: its parameters.
      prompt: [T], int32, T >= 1.
      length: how many tokens to draw.
      temperature: 1 draws from the model, less makes likely tokens likelier.
      key: for the draws.

    Returns:
      [length], int32.
    """
    step = functools.partial(models.step, model, params)

    def draw(y, key):
        logits = models.logits(model, params, y)[0].astype(jnp.float32)
        drawn = jax.random.categorical(key, logits / jnp.where(temperature > 0, temperature, 1.0))
        return jnp.where(temperature > 0, drawn, jnp.argmax(logits)).astype(jnp.int32)

    def one(state, key):
        carry, y = state
        token = draw(y, key)
        return step(carry, models.Inputs(token[None])), token

    carry, ys = jax.lax.scan(step, models.init_carry(model, 1), models.Inputs(prompt[:, None]))
    _, tokens = jax.lax.scan(one, (carry, ys[-1]), jax.random.split(key, length))
    return tokens
