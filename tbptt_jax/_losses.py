"""Cross-entropy under a linear readout: the logits of all tokens never exist at once."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from tbptt_jax._blocks import accumulator, in_blocks, losses_alone, visit
from tbptt_jax._schedule import check_positive

ARGUMENTS = ("inputs", "kernel", "bias", "labels", "weights")


def linear_softmax_cross_entropy(
    inputs: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None,
    labels: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    block_size: int | None = None,
) -> jax.Array:
    """The weighted sum of the tokens' cross-entropies under a linear readout.

        Σₜ wₜ ℓₜ,   ℓₜ = log Σᵥ exp zₜᵥ - zₜ,labelₜ,   z = inputs · kernel + bias

    It is `jnp.sum(weights * optax.softmax_cross_entropy_with_integer_labels(z, labels))`, in blocks
    of tokens. A block's logits are visited once, for the loss and for all gradients; weights of
    `1 / labels.size` give the mean. Tokens of weight 0 contribute nothing, whatever their inputs
    and labels are; inf and nan may stand in what a mask hides, and count as a loss of 0.
    Forward-mode differentiation is not possible, as in any function with a gradient rule of its
    own; nor are arrays sharded over an Explicit mesh axis, outside `jax.shard_map`.

    Args:
      inputs: [..., N], floating point.
      kernel: [N, V], of the same dtype, as `bias`.
      bias: [V], or None.
      labels: [...], integers in 0..V-1. Where they are traced they cannot be checked: a label out
        of range makes the loss and its gradients nan.
      weights: [...] or what broadcasts to it, floating point; None for 1.
      block_size: tokens in a block; chosen from V and the platform if None.

    Returns:
      A scalar in nats, float32 for inputs of lower precision, else of their dtype. Products of
      bfloat16 inputs are accumulated in float32; float16 inputs are computed on in float32.

    Raises:
      ValueError: shapes or dtypes do not fit, or a known label of weight other than 0 is out of
        range.
      TypeError: `linear_softmax_cross_entropy: inputs must be an array, got NoneType.`

    Example:
      >>> import jax.numpy as jnp
      >>> from tbptt_jax import linear_softmax_cross_entropy
      >>> ys, kernel, bias = jnp.ones((20, 8, 16)), jnp.zeros((16, 1000)), jnp.zeros(1000)
      >>> labels = jnp.zeros((20, 8), int)
      >>> loss = linear_softmax_cross_entropy(ys, kernel, bias, labels, 1 / labels.size)
      >>> print(f"{loss:.4f}")  # log 1000
      6.9078

    References:
      Wijmans et al., 2025, Cut your losses in large-vocabulary language models, for the blocks.
    """
    name = "linear_softmax_cross_entropy"
    operands = _checked(name, inputs, kernel, bias, labels, weights)
    return _weighted_sum(_block_size(name, block_size), *operands)


def linear_softmax_cross_entropy_per_token(
    inputs: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None,
    labels: ArrayLike,
    *,
    block_size: int | None = None,
) -> jax.Array:
    """Each token's cross-entropy under a linear readout, [...], in nats.

    As `linear_softmax_cross_entropy`, but for cotangents that are known only later: a gradient
    visits the logits a second time. A label out of range, where it is traced, gives nan.

    Args:
      inputs: [..., N], floating point.
      kernel: [N, V], of the same dtype, as `bias`.
      bias: [V], or None.
      labels: [...], integers in 0..V-1.
      block_size: tokens in a block; chosen from V and the platform if None.

    Returns:
      [...], float32 for inputs of lower precision, else of their dtype.

    Raises:
      ValueError: as `linear_softmax_cross_entropy`.

    Example:
      >>> import jax.numpy as jnp
      >>> from tbptt_jax import linear_softmax_cross_entropy_per_token
      >>> labels = jnp.array([0, 1, 2])
      >>> linear_softmax_cross_entropy_per_token(jnp.eye(3), jnp.eye(3), None, labels).shape
      (3,)
    """
    name = "linear_softmax_cross_entropy_per_token"
    *operands, _ = _checked(name, inputs, kernel, bias, labels, None)
    losses: Any = _per_token(_block_size(name, block_size), *operands)
    return losses.reshape(np.shape(labels))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _weighted_sum(block_size, inputs, kernel, bias, labels, weights):
    losses = in_blocks(losses_alone, block_size, inputs, kernel, bias, labels)
    return _total(losses, weights)


def _weighted_sum_forward(block_size, *operands):
    losses, grads = in_blocks(visit, block_size, *operands)
    return _total(losses, operands[-1]), (grads, losses, _nothing_like(operands[0]))


def _weighted_sum_backward(block_size, kept, error):
    grads, losses, like = kept
    return *((error * grad).astype(like.dtype) for grad in grads), None, error * losses


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _per_token(block_size, inputs, kernel, bias, labels):
    return in_blocks(losses_alone, block_size, inputs, kernel, bias, labels)


def _per_token_forward(block_size, *operands):
    return in_blocks(losses_alone, block_size, *operands), operands


def _per_token_backward(block_size, operands, errors):
    _, grads = in_blocks(visit, block_size, *operands, errors)
    return *(grad.astype(operands[0].dtype) for grad in grads), None


_weighted_sum.defvjp(_weighted_sum_forward, _weighted_sum_backward)
_per_token.defvjp(_per_token_forward, _per_token_backward)


def _nothing_like(array):
    """An array of the same type without entries: what a rule keeps to know the type."""
    return jnp.zeros((0,), array.dtype)


def _total(losses, weights):
    return jnp.sum(jnp.where(weights != 0, weights * losses, 0))


def _checked(function, inputs, kernel, bias, labels, weights):
    """Inputs [T, N], kernel [N, V], bias [V], labels [T] and weights [T], if they fit."""
    if bias is None:
        bias = np.zeros(np.shape(kernel)[1:], getattr(kernel, "dtype", float))
    weights = 1.0 if weights is None else weights
    arrays = inputs, kernel, bias, labels, weights
    inputs, kernel, bias, labels, weights = (
        _array(function, name, array) for name, array in zip(ARGUMENTS, arrays, strict=True)
    )
    _check_dtypes(function, inputs, kernel, bias, labels, weights)
    _check_shapes(function, inputs, kernel, bias, labels, weights)
    if labels.dtype.itemsize < 4:  # which may not hold V
        labels = labels.astype(jnp.int32)
    if inputs.dtype == jnp.float16:  # whose range is too small for a softmax and its gradients
        inputs, kernel, bias = (array.astype(jnp.float32) for array in (inputs, kernel, bias))
    weights = jnp.broadcast_to(weights.astype(accumulator(inputs)), labels.shape)
    _check_range(function, labels, weights, len(bias))
    inputs = inputs.reshape(labels.size, inputs.shape[-1])
    return _varying_alike(inputs, kernel, bias, labels.ravel(), weights.ravel())


def _array(function, name, value):
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError):
        raise TypeError(
            f"{function}: {name} must be an array, got {type(value).__name__}."
        ) from None
    if any(axis is not None for axis in jax.typeof(array).sharding.spec):
        raise ValueError(
            f"{function}: {name} is sharded over an Explicit mesh axis, where blocks of tokens "
            "cannot be cut; make the axis Auto, or call it inside jax.shard_map."
        )
    return array


def _check_dtypes(function, inputs, kernel, bias, labels, weights):
    dtypes = [array.dtype for array in (inputs, kernel, bias)]
    if len(set(dtypes)) > 1 or not jnp.issubdtype(dtypes[0], jnp.floating):
        raise ValueError(
            f"{function}: inputs, kernel and bias must have one floating-point dtype, got "
            f"{', '.join(map(str, dtypes))}."
        )
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"{function}: labels must be integers, got {labels.dtype}.")
    if not any(jnp.issubdtype(weights.dtype, kind) for kind in (jnp.floating, jnp.integer, bool)):
        raise ValueError(f"{function}: weights must be real, got {weights.dtype}.")


def _check_shapes(function, inputs, kernel, bias, labels, weights):
    shapes = inputs.shape, kernel.shape, bias.shape, labels.shape
    *tokens, num_inputs = inputs.shape or (None,)
    vocab_size = kernel.shape[-1] if kernel.ndim else None
    if shapes[1:] != ((num_inputs, vocab_size), (vocab_size,), tuple(tokens)) or not vocab_size:
        raise ValueError(
            f"{function}: inputs, kernel, bias and labels must be [..., N], [N, V], [V] and [...], "
            f"got {', '.join(str(list(shape)) for shape in shapes)}."
        )
    try:
        fits = np.broadcast_shapes(weights.shape, labels.shape) == labels.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{function}: weights must broadcast to labels, {list(labels.shape)}, got "
            f"{list(weights.shape)}."
        )


def _check_range(function, labels, weights, vocab_size):
    """Refuses labels that are known to be out of range, unless their weight is known to be 0."""
    if isinstance(labels, Tracer) or isinstance(weights, Tracer):
        return
    known = np.asarray(labels)
    wrong = known[((known < 0) | (known >= vocab_size)) & (np.asarray(weights) != 0)]
    if wrong.size:
        raise ValueError(f"{function}: labels must be in 0..{vocab_size - 1}, got {wrong[0]}.")


def _varying_alike(*arrays):
    """Inside `shard_map`, arrays that differ between devices in the same axes, as a loop needs."""
    if not jax.sharding.get_abstract_mesh().manual_axes:
        return arrays
    never = functools.reduce(jnp.logical_and, (jnp.any(a != a) & False for a in arrays))
    return tuple(jnp.where(never, a, a) for a in arrays)


def _block_size(function, value):
    return None if value is None else check_positive(function, "block_size", value)
