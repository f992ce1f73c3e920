"""A widely copied recipe for truncated BPTT counts overlapping windows more than once.

  python -m experiments.pitfalls

The recipe keeps one graph for each step, detached from the last, and walks back through `horizon`
of them after every loss, handing on the gradient that each detached state has collected. These
gradients are never cleared, so a state hands on what earlier losses left there once more. The
command compares its parameter gradient with the definition's, over horizon and recurrent gain, for
a tanh RNN with an orthogonal recurrence times the gain. Where torch is installed the recipe itself
is run too, and must agree. A minute on two CPU cores. To expect: an error of 0 at horizon 2, about
half the gradient at horizon 3, 61 times the gradient at horizon 10 and gain 1.
"""

import functools
import importlib
import importlib.util
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.charts import pitfalls as pitfalls_chart
from experiments.record import launch, results, seeds
from tbptt_jax import truncated_scan

HORIZONS = (2, 3, 4, 5, 6, 8, 10, 15, 20)
GAINS = (0.5, 0.8, 1.0, 1.2)
NUM_STEPS, BATCH, STATE = 40, 8, 32
DEFAULTS = {"num_seeds": 20}  # of the weights, inputs and errors

flags.declare_key_flag("out")
flags.adopt_module_key_flags(seeds)


def problem(key: jax.Array, gain: float):
    """(params, init [B, N], xs [T, B, N], the errors of the outputs [T, B, N])."""
    keys = jax.random.split(key, 4)
    recurrent = jax.nn.initializers.orthogonal(gain)(keys[0], (STATE, STATE))
    params = {
        "recurrent": recurrent,
        "input": jax.nn.initializers.orthogonal()(keys[1], (STATE,) * 2),
    }
    xs = 0.1 * jax.random.normal(keys[2], (NUM_STEPS, BATCH, STATE))
    return params, jnp.zeros((BATCH, STATE)), xs, jax.random.normal(keys[3], xs.shape)


def step(params, carry, x):
    """One step, h = tanh(x U + h₋₁ W)."""
    return jnp.tanh(x @ params["input"] + carry @ params["recurrent"])


def definition(params, init, xs, errors, horizon):
    """The gradient of Σₜ ⟨errorₜ, hₜ⟩ for the parameters, each error over `horizon` steps."""

    def loss(params):
        def f(carry, x):
            carry = step(params, carry, x)
            return carry, carry

        return jnp.sum(errors * truncated_scan(f, init, xs, horizon=horizon)[1])

    return jax.grad(loss)(params)


def recipe(params, init, xs, errors, horizon):
    """What the recipe takes for it.

    `collected[s]` is the gradient that the detached state before step s has collected. After loss t
    its own error goes through step t, and then, for s = t, t-1, ..., what has collected at s goes
    through step s - 1.
    """
    carries = jax.lax.scan(lambda c, x: (step(params, c, x), c), init, xs)[1]

    def back(s, error, collected, grads):
        pull = jax.vjp(lambda p, c: step(p, c, xs[s]), params, carries[s])[1]
        for_params, for_carry = pull(error)
        grads = jax.tree.map(jnp.add, grads, for_params)
        return collected.at[s].add(for_carry), grads

    def after_loss(t, state):
        state = back(t, errors[t], *state)
        last = jnp.maximum(t - (horizon - 1), 0)

        def walk(i, state):
            return back(t - 1 - i, state[0][t - i], *state)

        return jax.lax.fori_loop(0, t - last, walk, state)

    nothing = jnp.zeros_like(carries), jax.tree.map(jnp.zeros_like, params)
    return jax.lax.fori_loop(0, NUM_STEPS, after_loss, nothing)[1]


def recipe_in_pytorch(params, init, xs, errors, horizon):
    """The recipe as it is copied, one update every step (k1 = 1, k2 = horizon)."""
    torch = importlib.import_module("torch")
    tensor = lambda leaf: torch.tensor(np.asarray(leaf))
    weights = {name: tensor(leaf).requires_grad_() for name, leaf in params.items()}
    states: list[Any] = [(None, tensor(init))]
    for x, error in zip(tensor(xs), tensor(errors), strict=True):
        state = states[-1][1].detach()
        state.requires_grad = True
        new_state = torch.tanh(x @ weights["input"] + state @ weights["recurrent"])
        states.append((state, new_state))
        del states[:-horizon]
        (error * new_state).sum().backward(retain_graph=True)
        for i in range(horizon - 1):
            if i + 2 > len(states) or states[-i - 2][0] is None:
                break
            states[-i - 2][1].backward(states[-i - 1][0].grad, retain_graph=True)
    return {name: jnp.asarray(weight.grad.numpy()) for name, weight in weights.items()}


def norm(tree):
    """The 2-norm over all leaves."""
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))


def relative_error(actual, expected):
    """‖actual - expected‖ / ‖expected‖."""
    return norm(jax.tree.map(jnp.subtract, actual, expected)) / norm(expected)


@functools.partial(jax.jit, static_argnums=(0, 2))
def gradients_of_seeds(method, keys, horizon, gain):
    """[seeds, ...]: the gradient by the recipe or the definition."""
    return jax.vmap(lambda key: method(*problem(key, gain), horizon))(keys)


def errors_of_seeds(keys, horizon, gain):
    """[seeds]: the recipe's relative error."""
    # In one program the two deadlock: XLA's CPU runtime runs their loops side by side (jax 0.10.2).
    found = (gradients_of_seeds(m, keys, horizon, gain) for m in (recipe, definition))
    return jax.vmap(relative_error)(*found)


def largest_difference_from_pytorch(key):
    """Between the recipe here and in PyTorch, relative to the gradient."""
    args = problem(key, 1.0)
    return max(
        float(relative_error(recipe(*args, h), recipe_in_pytorch(*args, h))) for h in (2, 3, 10)
    )


def main():
    out, num_seeds = results.folder(), flags.FLAGS.num_seeds
    keys = jax.random.split(jax.random.key(0), num_seeds)
    rows = []
    print("relative error of the recipe's gradient, median over the seeds (quartiles)")
    for horizon in HORIZONS:
        for gain in GAINS:
            quartiles = np.quantile(errors_of_seeds(keys, horizon, gain), [0.25, 0.5, 0.75])
            rows.append({"horizon": horizon, "gain": gain, "quartiles": quartiles.tolist()})
        cells = (f"{r['quartiles'][1]:9.3g}" for r in rows[-len(GAINS) :])
        print(f"horizon {horizon:2d}, gain {GAINS}: {' '.join(cells)}", flush=True)
    found = {"num_seeds": num_seeds, "relative_error": rows}
    if importlib.util.find_spec("torch"):
        found["difference_from_pytorch"] = largest_difference_from_pytorch(keys[0])
        print(f"PyTorch's recipe differs from this one by {found['difference_from_pytorch']:.1e}")
    else:
        print("torch is not installed; its recipe was not run beside this one")
    results.write(out, "pitfalls", found)
    pitfalls_chart.draw(found, out / "pitfalls.png")


if __name__ == "__main__":
    launch.run(main)
