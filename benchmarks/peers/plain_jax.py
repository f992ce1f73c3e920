"""JAX without the library: `lax.scan`, pieces cut by `stop_gradient`, and windows run again.

`full` has the loss on whole logits, as it is mostly written; in the others it goes by steps, which
is faster where B·V is large.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import worker
from benchmarks.peers import jax_model as model


def full(problem, horizon, mean_loss=model.mean_loss):
    """One scan; errors reach back to the sequence's start."""

    def loss(params, tokens, targets):
        step = functools.partial(model.cell, params)
        projected = model.project(params, tokens)
        _, ys = jax.lax.scan(step, model.initial(params, tokens), projected)
        return mean_loss(params, ys, targets)

    return model.compiled_step(loss, problem)


def epochwise(problem, horizon):
    """A scan for each piece of `horizon` steps, with the carry cut between the pieces."""

    def loss(params, tokens, targets):
        step = functools.partial(model.cell, params)
        projected, carry = model.project(params, tokens), model.initial(params, tokens)
        pieces = []
        for start in range(0, len(tokens), horizon):
            carry = jax.lax.stop_gradient(carry)
            carry, ys = jax.lax.scan(step, carry, projected[start : start + horizon])
            pieces.append(ys)
        return model.mean_loss_by_steps(params, jnp.concatenate(pieces), targets)

    return model.compiled_step(loss, problem)


def true_windows(problem, horizon):
    """Every window of `horizon` steps run again from its constant first carry, side by side.

    A window's last loss alone counts, but in the first window all do: each of them reaches the
    sequence's start in at most `horizon` steps.
    """
    num_windows = max(len(problem["tokens"]) - horizon, 0) + 1
    steps = np.arange(min(horizon, len(problem["tokens"])))[:, None] + np.arange(num_windows)

    def loss(params, tokens, targets):
        step = functools.partial(model.cell, params)
        projected, init = model.project(params, tokens), model.initial(params, tokens)
        held_step = functools.partial(model.cell, jax.lax.stop_gradient(params))
        _, carries = jax.lax.scan(held_step, init, jax.lax.stop_gradient(projected))
        entering = jnp.concatenate([init[None], carries[: num_windows - 1]])
        _, ys = jax.lax.scan(step, entering, projected[steps])  # [horizon, windows, B, N]
        return model.mean_loss_by_steps(params, jnp.concatenate([ys[:, 0], ys[-1, 1:]]), targets)

    return model.compiled_step(loss, problem)


VARIANTS = {
    "full": full,
    "full-steps": functools.partial(full, mean_loss=model.mean_loss_by_steps),
    "epochwise": epochwise,
    "true-windows": true_windows,
}

if __name__ == "__main__":
    worker.serve(VARIANTS, model.VERSIONS)
