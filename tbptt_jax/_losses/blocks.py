"""A linear readout and its softmax cross-entropy, a block of tokens at a time.

Tokens are the leading axis: inputs [T, N], labels and weights [T]; kernel [N, V], bias [V]. Where
`axis` is a mesh axis of `jax.shard_map`, kernel and bias are a device's own columns.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

# Logits at a time. On a CPU two arrays of them should stay in its last cache, and be small enough
# for an allocator to keep; elsewhere memory alone bounds them.
CPU_BLOCK_LOGITS = 2**21
BLOCK_LOGITS = 2**25
PRODUCT_ROWS = 32  # products of other numbers of rows are slower on a CPU


def visit(axis, block_size, inputs, kernel, bias, labels, weights):
    """The losses, and the gradients of Σ wₜ ℓₜ for inputs, kernel and bias, in one visit a block.

    With e = exp(z - max z) and s = Σ e, a row of the logits' gradient is w (e / s - onehot). The
    factor w / s is left to the narrow sides of the products that e goes into, the bias stands in
    one more row of the kernel, and onehot in the kernel's columns at the labels; so e alone is as
    wide as the vocabulary. All results are of the accumulator's type.
    """
    wide = lambda leaf: leaf.astype(accumulator(inputs))
    labels, valid, own = _columns(axis, labels, len(bias))
    live = weights != 0
    weights = jnp.where(live & ~valid, jnp.nan, weights)
    unreadable = ~live & ~jnp.all(jnp.isfinite(inputs), axis=1)
    inputs = jnp.where(unreadable[:, None], 0, inputs)
    table = jnp.concatenate([kernel, bias[None]])  # [N+1, V]
    rows = jnp.concatenate([inputs, jnp.ones_like(inputs, shape=(inputs.shape[0], 1))], axis=1)
    at_label = _if_own(own, wide(jnp.take(table, labels, axis=1).T))  # [T, N+1]

    def block(table_grad, tokens):
        rows, at_label, weights, live = tokens
        logits = _product(rows, table, 1, 0)
        top = _over(jax.lax.pmax, axis, jax.lax.stop_gradient(jnp.max(logits, axis=1)))
        hidden = ~live & ~jnp.isfinite(top)
        exps = jnp.exp(jnp.where(hidden[:, None], 0, logits - top[:, None]))
        sums = jnp.sum(exps, axis=1), jnp.sum(wide(rows) * at_label, axis=1)
        norm, logit_of_label = _over(jax.lax.psum, axis, sums)
        scale = (weights / norm)[:, None]
        scaled_rows = (scale * wide(rows)).astype(rows.dtype)
        losses = jnp.log(norm) + top - logit_of_label
        exps = exps.astype(rows.dtype)
        table_grad += _product(scaled_rows, exps, 0, 0)
        rows_grad = scale * _product(exps, table, 1, 1)
        return table_grad, (jnp.where(hidden, 0, losses), rows_grad)

    tokens = rows, at_label, weights, live
    table_grad, (losses, rows_grad) = _scan(block, wide(jnp.zeros_like(table)), tokens, block_size)
    losses = jnp.where(valid & ~unreadable, losses, jnp.where(live, jnp.nan, 0))
    weights = weights[:, None]
    rows_grad = _over(jax.lax.psum, axis, rows_grad - weights * at_label)
    table_grad = table_grad.at[:, labels].add(-_if_own(own, weights * wide(rows)).T)
    return losses, (rows_grad[:, :-1], table_grad[:-1], table_grad[-1])


def losses_alone(axis, block_size, inputs, kernel, bias, labels):
    """The losses alone, [T]."""
    labels, valid, own = _columns(axis, labels, len(bias))

    def block(carry, tokens):
        inputs, labels, own = tokens
        logits = _product(inputs, kernel, 1, 0)
        logits += bias.astype(logits.dtype)[None]
        at_label = jnp.take_along_axis(logits, labels[:, None], axis=1)
        if axis is None:
            return carry, jax.nn.logsumexp(logits, axis=1) - at_label[:, 0]
        top = jax.lax.pmax(jax.lax.stop_gradient(jnp.max(logits, axis=1)), axis)
        norm = jnp.sum(jnp.exp(logits - top[:, None]), axis=1)
        norm, at_label = jax.lax.psum((norm, _if_own(own, at_label)[:, 0]), axis)
        return carry, jnp.log(norm) + top - at_label

    _, losses = _scan(block, None, (inputs, labels, own), block_size)
    return jnp.where(valid, losses, jnp.nan)


def _columns(axis, labels, num_columns):
    """The labels' columns, which labels are valid, and which are this device's; None for all."""
    if axis is None:
        valid = (labels >= 0) & (labels < num_columns)
        return jnp.where(valid, labels, 0), valid, None
    valid = (labels >= 0) & (labels < num_columns * jax.lax.axis_size(axis))
    columns = labels - (jax.lax.axis_index(axis) * num_columns).astype(labels.dtype)
    own = (columns >= 0) & (columns < num_columns)
    return jnp.where(own, columns, 0), valid, own


def _if_own(own, rows):
    """Rows [T, ...] of this device's labels, and zeros."""
    return rows if own is None else jnp.where(own[:, None], rows, 0)


def _over(collective, axis, leaf):
    return leaf if axis is None else collective(leaf, axis)


def _scan(block, carry, tokens, block_size):
    """`lax.scan` over blocks of tokens, [T, ...] each; zeros fill the last block."""
    num_tokens = tokens[0].shape[0]
    num_blocks = -(-num_tokens // block_size)
    fill = num_blocks * block_size - num_tokens

    def fold(leaf):
        leaf = jnp.pad(leaf, [(0, fill)] + [(0, 0)] * (leaf.ndim - 1))
        return leaf.reshape(num_blocks, block_size, *leaf.shape[1:])

    carry, ys = jax.lax.scan(block, carry, jax.tree.map(fold, tokens))
    unfold = lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:num_tokens]
    return carry, jax.tree.map(unfold, ys)


def in_blocks(fun, how, *operands):
    """`fun(*how, ...)`, how being (axis, block_size); without a size, one that suits the platform.

    A block then fills a CPU's cache, or what another's memory allows.
    """
    axis, block_size = how
    num_tokens, vocab_size = operands[0].shape[0], operands[1].shape[1]
    if block_size is None:
        on_cpu, elsewhere = (
            _even_block(num_tokens, logits // vocab_size)
            for logits in (CPU_BLOCK_LOGITS, BLOCK_LOGITS)
        )
        if on_cpu != elsewhere:
            return jax.lax.platform_dependent(
                *operands,
                cpu=functools.partial(fun, axis, on_cpu),
                default=functools.partial(fun, axis, elsewhere),
            )
        block_size = on_cpu
    return fun(axis, block_size, *operands)


def _even_block(num_tokens, most):
    """The size of the fullest blocks of at most `most` tokens, if possible of even product rows."""
    sizes = range(most - most % PRODUCT_ROWS, most // 2, -PRODUCT_ROWS) or [max(1, most)]
    if not isinstance(num_tokens, int):  # symbolic, under jax.export
        return sizes[0]
    if num_tokens <= most:
        return max(1, num_tokens)
    return min(sizes, key=lambda size: -(-num_tokens // size) * size)


def _product(left, right, left_axis, right_axis):
    """The product of two matrices over an axis of each, accumulated in float32 at least."""
    return jax.lax.dot_general(
        left,
        right,
        (((left_axis,), (right_axis,)), ((), ())),
        preferred_element_type=accumulator(left),
    )


def accumulator(array):
    """The dtype to add up in: the array's, but float32 at least."""
    return jnp.float32 if jnp.finfo(array.dtype).bits < 32 else array.dtype
