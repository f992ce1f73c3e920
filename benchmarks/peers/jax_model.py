"""What both JAX peers share: the model's step, its losses, and how a finished step is made."""

import jax
import jax.numpy as jnp
import optax

from benchmarks.problem import PARAMETERS
from benchmarks.worker import Problem, Step

VERSIONS = {"jax": jax.__version__, "optax": optax.__version__}


def initial(params, tokens):
    """The first carry: zeros, [B, N]."""
    return jnp.zeros((tokens.shape[1], params["bias"].size), jnp.float32)


def project(params, tokens):
    """The words' part of every step, before the scan: [T, B] -> [T, B, N]."""
    return params["embedding"][tokens] @ params["input_kernel"] + params["bias"]


def cell(params, carry, projected):
    """hₛ from hₛ₋₁ and the word's part: ([B, N], [B, N]) -> (hₛ, hₛ)."""
    carry = jnp.tanh(projected + carry @ params["recurrent_kernel"])
    return carry, carry


def mean_loss(params, outputs, targets):
    """Mean cross-entropy on whole logits, [T·B, V]: ([T, B, N], [T, B]) -> []."""
    logits = outputs.reshape(targets.size, -1) @ params["readout_kernel"] + params["readout_bias"]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets.reshape(-1))
    return jnp.mean(losses)


def mean_loss_by_steps(params, outputs, targets):
    """The same, with one step's logits at a time, computed again in the backward pass."""

    @jax.checkpoint
    def step_loss(output_and_target):
        return mean_loss(params, *output_and_target)

    return jnp.mean(jax.lax.map(step_loss, (outputs, targets)))


def compiled_step(loss_fn, problem: Problem) -> Step:
    """The step of a loss `(params, tokens, targets) -> []`."""
    arrays = jax.device_put(dict(problem))
    params = {name: arrays[name] for name in PARAMETERS}
    loss_and_grads = jax.jit(jax.value_and_grad(loss_fn))

    def step():
        return jax.block_until_ready(loss_and_grads(params, arrays["tokens"], arrays["targets"]))

    return step
