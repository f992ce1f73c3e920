"""Flax linen: an LSTM language model with the scan inside a module, as users of `nn.RNN` write it.

What changes: the cell is a module without a parent, its parameters are one parameter of the model,
and its step is pure. A bound submodule must not be called inside a scan: that is refused.

    -  ys = nn.RNN(nn.OptimizedLSTMCell(SIZE), time_major=True)(x)
    +  cell = nn.OptimizedLSTMCell(SIZE, parent=None)
    +  variables = self.param("cell", lambda key: cell.init(key, init, x[0]))
    +  _, ys = truncated_scan(functools.partial(cell.apply, variables), init, x, horizon=16)

Look at: each token repeats the one 6 before it, so an error must reach 7 steps back. Horizons 1 and
4 fail; 16 learns what full BPTT learns.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from tbptt_jax import LearnerState, linear_softmax_cross_entropy, make_train_loop, truncated_scan

HORIZONS = (1, 4, 16, None)
VOCAB, SIZE, DELAY, BATCH, STEPS = 8, 32, 6, 16, 48


class Model(nn.Module):
    horizon: int | None

    @nn.compact
    def __call__(self, tokens):
        """[T+1, B] tokens -> the mean loss of predicting all but the first."""
        x = nn.Embed(VOCAB, SIZE)(tokens[:-1])
        cell = nn.OptimizedLSTMCell(SIZE, parent=None)
        init = cell.initialize_carry(jax.random.key(0), x[0].shape)
        variables = self.param("cell", lambda key: cell.init(key, init, x[0]))
        step = functools.partial(cell.apply, variables)
        _, ys = truncated_scan(step, init, x, horizon=self.horizon)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (SIZE, VOCAB))
        bias = self.param("bias", nn.initializers.zeros, (VOCAB,))
        return linear_softmax_cross_entropy(ys, kernel, bias, tokens[1:])


def batch_fn(key, i):
    """Tokens [T+1, B] of which each repeats the one DELAY before it."""
    cycle = jax.random.randint(jax.random.fold_in(key, i), (DELAY, BATCH), 0, VOCAB)
    return jnp.tile(cycle, (STEPS // DELAY + 1, 1))[: STEPS + 1]


def train(horizon, num_updates):
    """The mean loss of the last tenth of the updates, in nats per token."""
    model, optimizer, key = Model(horizon), optax.adam(0.01), jax.random.key(1)
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
