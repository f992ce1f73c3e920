"""Truncated BPTT as a plain loop. This file is the definition that everything else is held to."""

import jax
import jax.numpy as jnp


def truncated_gradients(f, params, init, xs, carry_ct, ys_ct, *, horizon, stride):
    """Gradients for (params, init, xs) of Σₜ ⟨ys_ct[t], y[t]⟩ + ⟨carry_ct, last carry⟩.

    The losses of one block of `stride` steps share one pass over the `horizon` steps that end with
    the block's last. The carry that enters the first of them is a constant, unless it is `init`.
    A leaf that the steps have handed on unchanged is still that of `init`: a parameter.
    """
    num_steps = len(jax.tree.leaves(xs)[0])
    carries = [init]  # carries[s] enters step s
    for s in range(num_steps):
        carries.append(f(params, carries[s], at(xs, s))[0])

    gradient = None
    for first in range(0, num_steps, stride):
        last = min(first + stride, num_steps) - 1
        start = max(last - horizon + 1, 0)

        def loss(params, init, xs, first=first, last=last, start=start):
            carry = jax.tree.map(cut, init, carries[0], carries[start])
            total = 0.0
            for s in range(start, last + 1):
                carry, y = f(params, carry, at(xs, s))
                if s >= first:
                    total += inner(at(ys_ct, s), y)
            if last == num_steps - 1:
                total += inner(carry_ct, carry)
            return total

        part = jax.grad(loss, argnums=(0, 1, 2), allow_int=True)(params, init, xs)
        gradient = part if gradient is None else add(gradient, part)
    return gradient


def gradients_of_parts(f, params, init, xs, carry_ct, ys_ct, *, param_horizons, carry_horizons):
    """The same at stride 1 with a horizon for each leaf of the parameters and of the carry.

    The error of step t does not pass a leaf of the carry with horizon h into a step t - h or
    before, and a parameter with horizon h is a constant in those steps. `init` and the inputs are
    differentiated at the steps of the longest horizon.
    """
    num_steps = len(jax.tree.leaves(xs)[0])
    carries = [init]
    for s in range(num_steps):
        carries.append(f(params, carries[s], at(xs, s))[0])
    longest = max(jax.tree.leaves((param_horizons, carry_horizons)))

    gradient = None
    for t in range(num_steps):
        start = max(t - longest + 1, 0)

        def loss(params, init, xs, t=t, start=start):
            constant = jax.lax.stop_gradient
            carry = init if start == 0 else jax.tree.map(constant, carries[start])
            for s in range(start, t + 1):
                reach = lambda leaf, h, s=s: leaf if t - s < h else constant(leaf)
                own = jax.tree.map(reach, params, param_horizons)
                carry, y = f(own, carry, at(xs, s))
                carry = jax.tree.map(reach, carry, carry_horizons)
            total = inner(at(ys_ct, t), y)
            return total + inner(carry_ct, carry) if t == num_steps - 1 else total

        part = jax.grad(loss, argnums=(0, 1, 2), allow_int=True)(params, init, xs)
        gradient = part if gradient is None else add(gradient, part)
    return gradient


def cut(differentiated, first, leaf):
    return differentiated if leaf is first else jax.lax.stop_gradient(leaf)


def at(tree, s):
    return jax.tree.map(lambda leaf: leaf[s], tree)


def inner(error, value):
    """⟨error, value⟩ over the leaves that carry errors: floating-point and complex ones."""
    pairs = zip(jax.tree.leaves(error), jax.tree.leaves(value), strict=True)
    return sum(jnp.sum(e * v).real for e, v in pairs if jnp.issubdtype(v.dtype, jnp.inexact))


def add(a, b):
    return jax.tree.map(lambda x, y: x if x.dtype == jax.dtypes.float0 else x + y, a, b)
