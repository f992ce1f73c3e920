"""Haiku: a GRU language model, for users of `hk.dynamic_unroll`.

What changes: one step is called before the scan, so that it makes the parameters; inside the scan
they are only read. Without that line the call is refused.

    -  ys, _ = hk.dynamic_unroll(core, x, state)
    +  core(x[0], state)
    +  _, ys = truncated_scan(lambda state, x: core(x, state)[::-1], state, x, horizon=16)

Look at: each token repeats the one 6 before it, so an error must reach 7 steps back. Horizons 1 and
4 fail; 16 learns what full BPTT learns.
"""

import haiku as hk
import jax
import jax.numpy as jnp
import optax

from tbptt_jax import LearnerState, linear_softmax_cross_entropy, make_train_loop, truncated_scan

HORIZONS = (1, 4, 16, None)
VOCAB, SIZE, DELAY, BATCH, STEPS = 8, 32, 6, 16, 48


def batch_fn(key, i):
    """Tokens [T+1, B] of which each repeats the one DELAY before it."""
    cycle = jax.random.randint(jax.random.fold_in(key, i), (DELAY, BATCH), 0, VOCAB)
    return jnp.tile(cycle, (STEPS // DELAY + 1, 1))[: STEPS + 1]


def train(horizon, num_updates):
    """The mean loss of the last tenth of the updates, in nats per token."""

    @hk.without_apply_rng
    @hk.transform
    def model(tokens):
        x = hk.Embed(VOCAB, SIZE)(tokens[:-1])
        core = hk.GRU(SIZE)
        state = core.initial_state(BATCH)
        core(x[0], state)
        step = lambda state, x: core(x, state)[::-1]  # Haiku's cores return the output first
        _, ys = truncated_scan(step, state, x, horizon=horizon)
        kernel = hk.get_parameter("kernel", (SIZE, VOCAB), init=hk.initializers.VarianceScaling())
        bias = hk.get_parameter("bias", (VOCAB,), init=jnp.zeros)
        return linear_softmax_cross_entropy(ys, kernel, bias, tokens[1:])

    optimizer, key = optax.adam(0.01), jax.random.key(1)
    params = model.init(jax.random.key(0), batch_fn(key, 0))
    loss_fn = lambda params, carry, tokens: (model.apply(params, tokens), carry)
    train_loop = make_train_loop(loss_fn, optimizer, batch_fn)
    first = num_updates * 9 // 10
    learner = LearnerState(params, optimizer.init(params), None)
    learner, _ = train_loop(learner, key, 0, first)
    return float(train_loop(learner, key, first, num_updates)[1].loss)


def main(num_updates=300):
    for horizon in HORIZONS:
        print(f"horizon {horizon or 'full'}: loss {train(horizon, num_updates):.3f}", flush=True)


if __name__ == "__main__":
    main()
