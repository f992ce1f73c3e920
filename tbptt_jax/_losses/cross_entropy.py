"""Cross-entropy under a linear readout: the logits of all tokens never exist at once."""

from __future__ import annotations

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from tbptt_jax._losses.blocks import accumulator, in_blocks, losses_alone, visit
from tbptt_jax._losses.over_devices import is_sharded, on_each_device, varying_alike
from tbptt_jax._step.arguments import as_array, check_integer, shown
from tbptt_jax._step.zero_factors import as_product

NAME = "linear_softmax_cross_entropy"
ARGUMENTS = ("inputs", "kernel", "bias", "labels", "token_weights")
REDUCTIONS = ("mean", "sum", "none")


def linear_softmax_cross_entropy(
    inputs: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None,
    labels: ArrayLike,
    *,
    token_weights: ArrayLike | None = None,
    reduction: Literal["mean", "sum", "none"] = "mean",
    block_size: int | None = None,
    vocab_axis: str | tuple[str, ...] | None = None,
) -> jax.Array:
    """Cross-entropy of tokens under a linear readout, without the logits of all tokens at once.

        ℓₜ = log Σᵥ exp zₜᵥ - zₜ,labelₜ,   z = inputs · kernel + bias
        mean = Σₜ wₜ ℓₜ / Σₜ wₜ,   sum = Σₜ wₜ ℓₜ,   none = (wₜ ℓₜ)ₜ

    It is `optax.softmax_cross_entropy_with_integer_labels(z, labels)`, in blocks of tokens,
    weighted and reduced. For the mean and the sum a block's logits are computed once, for the loss
    and for all gradients; for "none" a gradient computes them a second time. The mean is 0 where
    the weights sum to 0.

    Tokens of weight 0 contribute nothing, whatever their inputs and labels are: masked tokens may
    contain inf or NaN, and a label to ignore gets the weight 0, `token_weights=labels != ignored`.

    With z_label = Σ inputs · kernel[:, label] + bias[label], which is cheap, label smoothing α adds
    α (z_label - inputs · mean kernel - mean bias) to each token's loss, and a z-loss adds
    β (ℓ + z_label)², since ℓ + z_label is the logarithm of the softmax's denominator.

    Forward-mode differentiation is not possible, as in any function with a gradient rule of its
    own.

    Over Explicit mesh axes, tokens may be sharded, and the columns of kernel and bias; each device
    then computes its own tokens' logits of its own columns, and no logit leaves it. Inside
    `jax.shard_map` tokens are a device's own, as in any function there, and `vocab_axis` says that
    the columns are.

    Args:
      inputs: [..., N], floating point.
      kernel: [N, V], of the same dtype, as `bias`.
      bias: [V], or None.
      labels: [...], integers in 0..V-1. Traced labels cannot be checked: one out of range makes the
        loss and its gradients NaN.
      token_weights: [...] or what broadcasts to it, real or bool; None for 1.
      reduction: "mean", "sum" or "none"; static.
      block_size: tokens in a block; chosen from V and the platform if None.
      vocab_axis: mesh axis of `jax.shard_map` over which the V columns of kernel and bias are
        sharded in order, with everything else the same along it; labels count all columns.

    Returns:
      A scalar in nats, or [...] for "none"; float32 for inputs of lower precision, else of their
      dtype. Products of bfloat16 inputs are accumulated in float32; float16 inputs are computed on
      in float32.

    Raises:
      ValueError: mismatched shapes or dtypes, or a known label of weight other than 0 that is out
        of range.
      ValueError: `linear_softmax_cross_entropy: reduction must be one of mean, sum, none, got
        'avg'.`
      ValueError: `linear_softmax_cross_entropy: vocab_axis must be an axis of jax.shard_map around
        the call, got 'model'.`
      TypeError: `linear_softmax_cross_entropy: inputs must be an array, got NoneType.`

    Example:
      >>> import jax.numpy as jnp
      >>> from tbptt_jax import linear_softmax_cross_entropy
      >>> ys, kernel, bias = jnp.ones((20, 8, 16)), jnp.zeros((16, 1000)), jnp.zeros(1000)
      >>> labels = jnp.zeros((20, 8), int)
      >>> print(f"{linear_softmax_cross_entropy(ys, kernel, bias, labels):.4f}")  # log 1000
      6.9078
      >>> linear_softmax_cross_entropy(ys, kernel, bias, labels, reduction="none").shape
      (20, 8)

    References:
      Wijmans et al., 2025, Cut your losses in large-vocabulary language models, for the blocks.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(
            f"{NAME}: reduction must be one of {', '.join(REDUCTIONS)}, got {shown(reduction)}."
        )
    if block_size is not None:
        block_size = check_integer(NAME, "block_size", block_size)
    operands = _checked(vocab_axis, inputs, kernel, bias, labels, token_weights)
    how = vocab_axis, block_size
    if any(map(is_sharded, operands)):
        of_tokens = on_each_device(_losses, reduction == "none", block_size, *operands)
    else:
        of_tokens = _losses(reduction == "none", how, *operands)
    if reduction != "mean":
        return of_tokens
    weight = jnp.sum(operands[-1])
    return jnp.where(weight == 0, 0, of_tokens / jnp.where(weight == 0, 1, weight))


def _losses(each, how, inputs, kernel, bias, labels, weights):
    """Each token's weighted loss, [...], or their sum."""
    flat = inputs.reshape(labels.size, inputs.shape[-1]), labels.ravel(), weights.ravel()
    inputs, kernel, bias, labels_of, weights = varying_alike(how[0], flat, kernel, bias)
    operands = inputs, kernel, bias, labels_of, weights
    found: Any = (_weighted if each else _weighted_sum)(how, *operands)
    return found.reshape(labels.shape) if each else found


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _weighted_sum(how, inputs, kernel, bias, labels, weights):
    losses = in_blocks(losses_alone, how, inputs, kernel, bias, labels)
    return jnp.sum(_times(weights, losses))


def _weighted_sum_forward(how, *operands):
    losses, grads = in_blocks(visit, how, *operands)
    return jnp.sum(_times(operands[-1], losses)), (grads, losses, _nothing_like(operands[0]))


def _weighted_sum_backward(how, kept, error):
    grads, losses, like = kept
    return *((error * grad).astype(like.dtype) for grad in grads), None, error * losses


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _weighted(how, inputs, kernel, bias, labels, weights):
    losses = in_blocks(losses_alone, how, inputs, kernel, bias, labels)
    return _times(weights, losses)


def _weighted_forward(how, *operands):
    return _weighted(how, *operands), operands


def _weighted_backward(how, operands, errors):
    *operands, weights = operands
    losses, grads = in_blocks(visit, how, *operands, errors * weights)
    return *(grad.astype(operands[0].dtype) for grad in grads), None, errors * losses


_weighted_sum.defvjp(_weighted_sum_forward, _weighted_sum_backward)
_weighted.defvjp(_weighted_forward, _weighted_backward)


def _nothing_like(array):
    """An array of the same type without entries: what a rule keeps to know the type."""
    return jnp.zeros((0,), array.dtype)


@as_product
def _times(weights, losses):
    return jnp.where(weights != 0, weights * losses, 0)


def _checked(vocab_axis, inputs, kernel, bias, labels, weights):
    """The operands as arrays of one dtype, weights of the labels' shape, if they fit."""
    if bias is None:
        bias = np.zeros(np.shape(kernel)[1:], getattr(kernel, "dtype", float))
    weights = 1.0 if weights is None else weights
    arrays = inputs, kernel, bias, labels, weights
    inputs, kernel, bias, labels, weights = (
        as_array(NAME, name, array) for name, array in zip(ARGUMENTS, arrays, strict=True)
    )
    _check_dtypes(inputs, kernel, bias, labels, weights)
    _check_shapes(inputs, kernel, bias, labels, weights)
    if labels.dtype.itemsize < 4:  # which may not hold V
        labels = labels.astype(jnp.int32)
    if inputs.dtype == jnp.float16:  # whose range is too small for a softmax and its gradients
        inputs, kernel, bias = (array.astype(jnp.float32) for array in (inputs, kernel, bias))
    weights = jnp.broadcast_to(weights.astype(accumulator(inputs)), labels.shape)
    _check_range(labels, weights, len(bias) * _num_devices(vocab_axis))
    return inputs, kernel, bias, labels, weights


def _num_devices(vocab_axis):
    if vocab_axis is None:
        return 1
    names = vocab_axis if isinstance(vocab_axis, tuple) else (vocab_axis,)
    try:
        if not names or not all(isinstance(name, str) for name in names):
            raise NameError
        return jax.lax.axis_size(names)
    except NameError:
        raise ValueError(
            f"{NAME}: vocab_axis must be an axis of jax.shard_map around the call, got "
            f"{shown(vocab_axis)}."
        ) from None


def _check_dtypes(inputs, kernel, bias, labels, weights):
    dtypes = [array.dtype for array in (inputs, kernel, bias)]
    if len(set(dtypes)) > 1 or not jnp.issubdtype(dtypes[0], jnp.floating):
        raise ValueError(
            f"{NAME}: inputs, kernel and bias must have one floating-point dtype, got "
            f"{', '.join(map(str, dtypes))}."
        )
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"{NAME}: labels must be integers, got {labels.dtype}.")
    if not any(jnp.issubdtype(weights.dtype, kind) for kind in (jnp.floating, jnp.integer, bool)):
        raise ValueError(f"{NAME}: token_weights must be real, got {weights.dtype}.")


def _check_shapes(inputs, kernel, bias, labels, weights):
    shapes = inputs.shape, kernel.shape, bias.shape, labels.shape
    *tokens, num_inputs = inputs.shape or (None,)
    vocab_size = kernel.shape[-1] if kernel.ndim else None
    if shapes[1:] != ((num_inputs, vocab_size), (vocab_size,), tuple(tokens)) or not vocab_size:
        raise ValueError(
            f"{NAME}: inputs, kernel, bias and labels must be [..., N], [N, V], [V] and [...], "
            f"got {', '.join(str(list(shape)) for shape in shapes)}."
        )
    try:
        fits = jnp.broadcast_shapes(weights.shape, labels.shape) == labels.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{NAME}: token_weights must broadcast to labels, {list(labels.shape)}, got "
            f"{list(weights.shape)}."
        )


def _check_range(labels, weights, vocab_size):
    """Refuses labels that are known to be out of range, unless their weight is known to be 0."""
    if any(
        isinstance(array, Tracer) or not array.is_fully_addressable for array in (labels, weights)
    ):
        return
    known = np.asarray(labels)
    wrong = known[((known < 0) | (known >= vocab_size)) & (np.asarray(weights) != 0)]
    if wrong.size:
        raise ValueError(f"{NAME}: labels must be in 0..{vocab_size - 1}, got {wrong[0]}.")
