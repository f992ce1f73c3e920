"""The language model: embedding, recurrent cell, readout, as (params, carry, x) -> (carry, y)."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from tbptt_jax import linear_softmax_cross_entropy

CELLS = {"vanilla": nn.SimpleCell, "gru": nn.GRUCell, "lstm": nn.OptimizedLSTMCell}


class Inputs(NamedTuple):
    """What the model sees at a step, or [T, ...] at all steps; None where nothing is dropped."""

    token: jax.Array  # [B], int32
    embedding_mask: jax.Array | None = None  # [B, M], 0 or 1 / keep_prob
    output_mask: jax.Array | None = None  # [B, N]


def scaled_uniform(fan_in: int) -> nn.initializers.Initializer:
    """Uniform in ±√(3 / fan_in), of variance 1 / fan_in: TensorFlow's default of 2016."""

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -1.0, 1.0) * (3.0 / fan_in) ** 0.5

    return init


class LanguageModel(nn.Module):
    """A word-level recurrent language model with dropout around the cell.

    yₛ, cₛ = cell(cₛ₋₁, dropout(E[tokenₛ]));   logitsₛ = dropout(yₛ) W + b
    """

    vocab_size: int
    embed_size: int
    state_size: int
    cell: str = "vanilla"

    def setup(self):
        self.embedding = nn.Embed(
            self.vocab_size, self.embed_size, embedding_init=scaled_uniform(self.vocab_size)
        )
        kernel_init = scaled_uniform(self.embed_size + self.state_size)
        self.recurrence = CELLS[self.cell](
            self.state_size, kernel_init=kernel_init, recurrent_kernel_init=kernel_init
        )
        self.readout = nn.Dense(self.vocab_size, kernel_init=scaled_uniform(self.state_size))

    def __call__(self, carry, x):
        carry, y = self.step(carry, x)
        return carry, self.logits(y)

    def step(self, carry, x: Inputs):
        """One step: (carry, inputs) -> (carry, dropped-out output [B, N])."""
        carry, y = self.recurrence(carry, _masked(self.embedding(x.token), x.embedding_mask))
        return carry, _masked(y, x.output_mask)

    def logits(self, y):
        """The readout: [..., N] -> [..., V]."""
        return self.readout(y)


def init_params(model: LanguageModel, key: jax.Array) -> Any:
    """Random parameters."""
    return model.init(key, init_carry(model, 1), Inputs(jnp.zeros(1, jnp.int32)))["params"]


def init_carry(model: LanguageModel, batch_size: int) -> Any:
    """The carry at the start of a stream: zeros, [B, N] each."""
    cell = CELLS[model.cell](model.state_size, parent=None)
    return cell.initialize_carry(jax.random.key(0), (batch_size, model.embed_size))


def step(model: LanguageModel, params: Any, carry: Any, x: Inputs) -> tuple[Any, jax.Array]:
    """The model's step as a pure function: (params, carry, x) -> (carry, y)."""
    return _apply(model, params, "step", carry, x)


def logits(model: LanguageModel, params: Any, ys: jax.Array) -> jax.Array:
    """The logits of the next token: [..., N] -> [..., V]."""
    return _apply(model, params, "logits", ys)


def mean_loss(params: Any, ys: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean cross-entropy of tokens in nats, through the readout: ([..., N], [...]) -> []."""
    readout = params["readout"]
    return linear_softmax_cross_entropy(ys, readout["kernel"], readout["bias"], targets)


def drop_carry(carry: Any, output_mask: jax.Array | None) -> Any:
    """The carry after dropout of the cell's output, as the reference article carries it on."""
    if isinstance(carry, tuple):  # an LSTM's (c, h)
        return (carry[0], _masked(carry[1], output_mask))
    return _masked(carry, output_mask)


def dropout_inputs(model: LanguageModel, key: jax.Array, tokens: jax.Array, keep_prob: float):
    """The inputs of a training sequence, tokens [T, B], with fresh masks for every step."""
    if keep_prob == 1.0:
        return Inputs(tokens)
    masks = [
        jax.random.bernoulli(k, keep_prob, (*tokens.shape, size)) / keep_prob
        for k, size in zip(jax.random.split(key), (model.embed_size, model.state_size), strict=True)
    ]
    return Inputs(tokens, *masks)


def _masked(values, mask):
    return values if mask is None else values * mask


def _apply(model, params, method, *args) -> Any:
    return model.apply({"params": params}, *args, method=method)
