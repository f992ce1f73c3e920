"""Readout and loss in blocks of tokens: the logits of all tokens never exist at once."""

from __future__ import annotations

import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

# Logits at a time. On a CPU two arrays of them should stay in its last cache, and be small enough
# for an allocator to keep; elsewhere memory alone bounds them.
CPU_BLOCK_LOGITS = 2**21
BLOCK_LOGITS = 2**25
PRODUCT_ROWS = 32  # products of other numbers of rows are slower on a CPU


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
    own.

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
      low-precision inputs are accumulated in float32.

    Raises:
      ValueError: shapes or dtypes do not fit, or a known label of weight other than 0 is out of
        range.

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
    operands = _checked("linear_softmax_cross_entropy", inputs, kernel, bias, labels, weights)
    return _weighted_sum(_block_size(block_size), *operands)


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
    losses: Any = _per_token(_block_size(block_size), *operands)
    return losses.reshape(np.shape(labels))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _weighted_sum(block_size, inputs, kernel, bias, labels, weights):
    losses = _in_blocks(_losses, block_size, inputs, kernel, bias, labels)
    return _total(losses, weights)


def _weighted_sum_forward(block_size, *operands):
    losses, grads = _in_blocks(_visit, block_size, *operands)
    return _total(losses, operands[-1]), (grads, losses)


def _weighted_sum_backward(block_size, kept, error):
    grads, losses = kept
    scale = lambda grad: (error * grad.astype(error.dtype)).astype(grad.dtype)
    return *map(scale, grads), None, error * losses


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _per_token(block_size, inputs, kernel, bias, labels):
    return _in_blocks(_losses, block_size, inputs, kernel, bias, labels)


def _per_token_forward(block_size, *operands):
    return _in_blocks(_losses, block_size, *operands), operands


def _per_token_backward(block_size, operands, errors):
    _, grads = _in_blocks(_visit, block_size, *operands, errors)
    return *grads, None


_weighted_sum.defvjp(_weighted_sum_forward, _weighted_sum_backward)
_per_token.defvjp(_per_token_forward, _per_token_backward)


def _visit(block_size, inputs, kernel, bias, labels, weights):
    """The losses, and the gradients of Σ wₜ ℓₜ for inputs, kernel and bias, in one visit a block.

    With e = exp(z - max z) and s = Σ e, a row of the logits' gradient is w (e / s - onehot). The
    factor w / s is left to the narrow sides of the products that e goes into, bias and s come from
    two more rows of the kernel, and onehot from its columns at the labels; so e alone is as wide
    as the vocabulary.
    """
    num_inputs = inputs.shape[1]
    table = jnp.concatenate([kernel, bias[None], jnp.ones_like(bias)[None]])  # [N+2, V]
    ones = jnp.ones_like(inputs, shape=(len(inputs), 1))
    rows = jnp.concatenate([inputs, ones, jnp.zeros_like(ones)], axis=1)  # [T, N+2]
    valid = (labels >= 0) & (labels < table.shape[1])
    labels = jnp.where(valid, labels, 0)
    wide = lambda leaf: leaf.astype(_accumulator(inputs))
    at_label = wide(jnp.take(table, labels, axis=1).T)  # [T, N+2]
    live = weights != 0
    weights = jnp.where(live & ~valid, jnp.nan, weights)

    def block(table_grad, tokens):
        rows, at_label, weights, live = tokens
        logits = _product(rows, table, 1, 0)
        top = jnp.max(logits, axis=1)
        hidden = ~live & ~jnp.isfinite(top)
        logits = jnp.where(hidden[:, None], 0, logits - top[:, None])
        exps = jnp.exp(logits).astype(rows.dtype)
        back = _product(exps, table, 1, 1)
        norm = back[:, -1]
        scale = jnp.where(live, weights / norm, 0)[:, None]
        scaled_rows = jnp.where(live[:, None], scale * wide(rows), 0).astype(rows.dtype)
        losses = jnp.log(norm) + top - jnp.sum(wide(rows) * at_label, axis=1)
        losses = jnp.where(hidden, 0, losses)
        return table_grad + _product(scaled_rows, exps, 0, 0), (losses, scale * back)

    zeros = wide(jnp.zeros_like(table))
    tokens = rows, at_label, weights, live
    table_grad, (losses, rows_grad) = _scan(block, zeros, tokens, block_size)
    losses = jnp.where(valid, losses, jnp.where(live, jnp.nan, 0))
    weights = weights[:, None]
    rows_grad -= weights * at_label
    at_label_grad = -jnp.where(live[:, None], weights * wide(rows), 0)
    table_grad = table_grad.at[:, labels].add(at_label_grad.T)
    grads = rows_grad[:, :num_inputs], table_grad[:num_inputs], table_grad[num_inputs]
    return losses, tuple(grad.astype(inputs.dtype) for grad in grads)


def _losses(block_size, inputs, kernel, bias, labels):
    """The losses alone, [T]."""
    valid = (labels >= 0) & (labels < len(bias))

    def block(carry, tokens):
        inputs, labels = tokens
        logits = _product(inputs, kernel, 1, 0)
        logits += bias.astype(logits.dtype)[None]
        at_label = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
        return carry, jax.nn.logsumexp(logits, axis=1) - at_label

    tokens = inputs, jnp.where(valid, labels, 0)
    _, losses = _scan(block, None, tokens, block_size)
    return jnp.where(valid, losses, jnp.nan)


def _scan(block, carry, tokens, block_size):
    """`lax.scan` over blocks of tokens, [T, ...] each; zeros fill the last block."""
    num_tokens = len(tokens[0])
    num_blocks = -(-num_tokens // block_size)
    fill = num_blocks * block_size - num_tokens

    def fold(leaf):
        leaf = jnp.pad(leaf, [(0, fill)] + [(0, 0)] * (leaf.ndim - 1))
        return leaf.reshape(num_blocks, block_size, *leaf.shape[1:])

    carry, ys = jax.lax.scan(block, carry, jax.tree.map(fold, tokens))
    unfold = lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:num_tokens]
    return carry, jax.tree.map(unfold, ys)


def _in_blocks(fun, block_size, *operands):
    """`fun(block_size, ...)`; where none is given, one for a CPU's cache or another's memory."""
    num_tokens, vocab_size = len(operands[0]), operands[1].shape[1]
    if block_size is None:
        on_cpu, elsewhere = (
            _even_block(num_tokens, logits // vocab_size)
            for logits in (CPU_BLOCK_LOGITS, BLOCK_LOGITS)
        )
        if on_cpu != elsewhere:
            fun_of = functools.partial(functools.partial, fun)
            choice = {"cpu": fun_of(on_cpu), "default": fun_of(elsewhere)}
            return jax.lax.platform_dependent(*operands, **choice)
        block_size = on_cpu
    return fun(block_size, *operands)


def _even_block(num_tokens, most):
    """The size of the fullest blocks of at most `most` tokens, if possible of even product rows."""
    if num_tokens <= most:
        return max(1, num_tokens)
    sizes = range(most - most % PRODUCT_ROWS, most // 2, -PRODUCT_ROWS) or [max(1, most)]
    return min(sizes, key=lambda size: -(-num_tokens // size) * size)


def _product(left, right, left_axis, right_axis):
    """The product of two matrices over an axis of each, accumulated in float32 at least."""
    return jax.lax.dot_general(
        left,
        right,
        (((left_axis,), (right_axis,)), ((), ())),
        preferred_element_type=_accumulator(left),
    )


def _accumulator(array):
    return jnp.float32 if jnp.finfo(array.dtype).bits < 32 else array.dtype


def _total(losses, weights):
    return jnp.sum(jnp.where(weights != 0, weights * losses, 0))


def _checked(function, inputs, kernel, bias, labels, weights):
    """Inputs [T, N], kernel [N, V], bias [V], labels [T] and weights [T], if they fit."""
    inputs, kernel, labels = map(jnp.asarray, (inputs, kernel, labels))
    bias = jnp.zeros_like(kernel[0]) if bias is None else jnp.asarray(bias)
    dtypes = [array.dtype for array in (inputs, kernel, bias)]
    if len(set(dtypes)) > 1 or not jnp.issubdtype(dtypes[0], jnp.floating):
        raise ValueError(
            f"{function}: inputs, kernel and bias must have one floating-point dtype, got "
            f"{', '.join(map(str, dtypes))}."
        )
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"{function}: labels must be integers, got {labels.dtype}.")
    if labels.dtype.itemsize < 4:  # which may not hold V
        labels = labels.astype(jnp.int32)
    shapes = inputs.shape, kernel.shape, bias.shape, labels.shape
    *tokens, num_inputs = inputs.shape or (None,)
    vocab_size = kernel.shape[-1] if kernel.ndim else None
    if shapes[1:] != ((num_inputs, vocab_size), (vocab_size,), tuple(tokens)) or not vocab_size:
        raise ValueError(
            f"{function}: inputs, kernel, bias and labels must be [..., N], [N, V], [V] and [...], "
            f"got {', '.join(str(list(shape)) for shape in shapes)}."
        )
    weights = jnp.asarray(1.0 if weights is None else weights, _accumulator(inputs))
    try:
        weights = jnp.broadcast_to(weights, labels.shape)
    except ValueError:
        raise ValueError(
            f"{function}: weights must broadcast to labels, {list(labels.shape)}, got "
            f"{list(weights.shape)}."
        ) from None
    _check_range(function, labels, weights, vocab_size)
    arrays = inputs.reshape(-1, num_inputs), kernel, bias, labels.ravel(), weights.ravel()
    return _varying_alike(*arrays)


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


def _block_size(value):
    if value is None:
        return None
    try:
        size = operator.index(value)
    except TypeError:
        raise ValueError(f"block_size must be a static integer, got {value!r}.") from None
    if size < 1:
        raise ValueError(f"block_size must be >= 1, got {size}.")
    return size
