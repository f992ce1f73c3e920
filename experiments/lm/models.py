"""The language model: embedding, recurrent cells, readout, as (params, carry, x) -> (carry, y)."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from tbptt_jax import linear_softmax_cross_entropy

CELLS = {"vanilla": nn.SimpleCell, "gru": nn.GRUCell, "lstm": nn.OptimizedLSTMCell}
ARTICLE_SIZES: dict[str, Any] = {
    "embed_size": 50,
    "state_size": 100,
}  # the article's table
PRECISIONS = {"float32": None, "bfloat16": jnp.bfloat16}  # None: that of the parameters


class Inputs(NamedTuple):
    """What the model sees at a step, or [T, ...] at all steps; None where nothing is dropped."""

    token: jax.Array  # [B], int32
    embedding_mask: jax.Array | None = None  # [B, M], 0 or 1 / keep_prob
    output_masks: tuple[jax.Array, ...] | None = None  # [B, N] for each layer


def scaled_uniform(fan_in: int) -> nn.initializers.Initializer:
    """Uniform in ±√(3 / fan_in), of variance 1 / fan_in: TensorFlow's default of 2016."""

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -1.0, 1.0) * (3.0 / fan_in) ** 0.5

    return init


def plain_uniform(scale: float) -> nn.initializers.Initializer:
    """Uniform in ±scale, whatever the shape."""

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -scale, scale)

    return init


class LanguageModel(nn.Module):
    """A recurrent language model with dropout around each cell.

    y⁰ₛ = dropout(E[tokenₛ]);   zˡₛ, cˡₛ = cellˡ(cˡₛ₋₁, yˡ⁻¹ₛ), yˡₛ = dropout(zˡₛ), l = 1..L;
    logitsₛ = yᴸₛ W + b

    One carry holds that of each layer, so an error reaches the whole horizon in all of them. With
    bfloat16 the step and the readout are computed in it; parameters, losses and gradients of
    parameters are float32.
    """

    vocab_size: int
    embed_size: int
    state_size: int
    cell: str = "vanilla"
    layers: int = 1
    precision: str = "float32"
    init_scale: float | None = None  # kernels uniform in ±init_scale; by their fan-in if None

    def setup(self):
        dtype = PRECISIONS[self.precision]
        init = self.kernel_init(self.vocab_size)
        self.embedding = nn.Embed(
            self.vocab_size, self.embed_size, embedding_init=init, dtype=dtype
        )
        self.recurrence = self.make_cell(self.embed_size)
        self.upper = [self.make_cell(self.state_size) for _ in range(1, self.layers)]
        init = self.kernel_init(self.state_size)
        self.readout = nn.Dense(self.vocab_size, kernel_init=init, dtype=dtype)

    def kernel_init(self, fan_in):
        return scaled_uniform(fan_in) if self.init_scale is None else plain_uniform(self.init_scale)

    def make_cell(self, input_size):
        init = self.kernel_init(input_size + self.state_size)
        dtype = PRECISIONS[self.precision]
        return CELLS[self.cell](
            self.state_size, kernel_init=init, recurrent_kernel_init=init, dtype=dtype
        )

    def __call__(self, carry, x):
        carry, y = self.step(carry, x)
        return carry, self.logits(y)

    def step(self, carry, x: Inputs):
        """One step: (carry, inputs) -> (carry, dropped-out output [B, N])."""
        y = _masked(self.embedding(x.token), x.embedding_mask)
        masks = x.output_masks or (None,) * self.layers
        new = []
        for cell, last, mask in zip((self.recurrence, *self.upper), carry, masks, strict=True):
            left, y = cell(last, y)
            y = _masked(y, mask)
            new.append(left)
        return tuple(new), y

    def logits(self, y):
        """The readout: [..., N] -> [..., V]."""
        return self.readout(y)


def init_params(model: LanguageModel, key: jax.Array) -> Any:
    """Random parameters."""
    return model.init(key, init_carry(model, 1), Inputs(jnp.zeros(1, jnp.int32)))["params"]


def init_carry(model: LanguageModel, batch_size: int) -> tuple:
    """The carry at the start of a stream, of each layer: zeros, [B, N] each."""
    cell = CELLS[model.cell](model.state_size, parent=None)
    carry = cell.initialize_carry(jax.random.key(0), (batch_size, model.embed_size))
    dtype = PRECISIONS[model.precision]
    carry = jax.tree.map(lambda leaf: leaf.astype(dtype or leaf.dtype), carry)
    return (carry,) * model.layers


def step(model: LanguageModel, params: Any, carry: Any, x: Inputs) -> tuple[Any, jax.Array]:
    """The model's step as a pure function: (params, carry, x) -> (carry, y)."""
    return _apply(model, params, "step", carry, x)


def logits(model: LanguageModel, params: Any, ys: jax.Array) -> jax.Array:
    """The logits of the next token: [..., N] -> [..., V]."""
    return _apply(model, params, "logits", ys)


def mean_loss(
    params: Any,
    ys: jax.Array,
    targets: jax.Array,
    *,
    is_filled_up: bool = False,
    vocab_axis: str | None = None,
) -> jax.Array:
    """Mean cross-entropy of tokens in nats, through the readout: ([..., N], [...]) -> [].

    Where `is_filled_up`, targets of -1 do not count. `vocab_axis` is that of
    `linear_softmax_cross_entropy`.
    """
    kernel, bias = (params["readout"][name].astype(ys.dtype) for name in ("kernel", "bias"))
    weights = targets >= 0 if is_filled_up else None
    return linear_softmax_cross_entropy(
        ys, kernel, bias, targets, token_weights=weights, vocab_axis=vocab_axis
    )


def drop_carry(carry: Any, output_masks: tuple[jax.Array, ...] | None) -> Any:
    """The carry after dropout of the cells' outputs, as the reference article carries it on."""
    if output_masks is None:
        return carry
    return tuple(map(_drop_state, carry, output_masks))


def dropout_inputs(model: LanguageModel, key: jax.Array, tokens: jax.Array, keep_prob: float):
    """The inputs of a training sequence, tokens [T, B], with fresh masks for every step."""
    if keep_prob == 1.0:
        return Inputs(tokens)
    sizes = model.embed_size, *(model.state_size,) * model.layers
    embedding_mask, *output_masks = [
        jax.random.bernoulli(k, keep_prob, (*tokens.shape, size)) / keep_prob
        for k, size in zip(jax.random.split(key, len(sizes)), sizes, strict=True)
    ]
    return Inputs(tokens, embedding_mask, tuple(output_masks))


def _drop_state(state, mask):
    if isinstance(state, tuple):  # an LSTM's (c, h)
        return (state[0], _masked(state[1], mask))
    return _masked(state, mask)


def _masked(values, mask):
    return values if mask is None else values * mask.astype(values.dtype)


def _apply(model, params, method, *args) -> Any:
    return model.apply({"params": params}, *args, method=method)
