"""Grain: a stream from a data loader whose state is the stream's position, stopped and resumed.

What changes: the learner carries the stream from chunk to chunk, and is saved with the loader.

    -  carry, ys = jax.lax.scan(step, jax.lax.stop_gradient(carry), xs)   # a chunk at a time
    +  stream, ys = stream_scan(step, stream, xs)   # errors reach into the chunks before
    +  saved = jax.device_get(learner), loader.get_state()   # the learner holds the stream

Look at: each token repeats the one 6 before it and a chunk has 4 steps, so errors must cross seams:
horizons 1 and 4 fail. The run that was resumed ends with the same loss as the one not stopped.
"""

import functools
import itertools

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax

from tbptt_jax import LearnerState, init_stream, make_train_step, stream_scan

HORIZONS = (1, 4, 16, 64)
VOCAB, SIZE, DELAY, BATCH, CHUNK = 8, 32, 6, 16, 4


def load(num_chunks):
    """An iterator over chunks (inputs, targets), [C, B] each, of a text that repeats itself."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(VOCAB, size=(num_chunks * CHUNK + 1, BATCH), dtype=np.int32)
    for t in range(DELAY, len(tokens)):
        tokens[t] = np.where(rng.random(BATCH) < 0.9, tokens[t - DELAY], tokens[t])
    cut = lambda i: (tokens[i * CHUNK :][:CHUNK], tokens[i * CHUNK + 1 :][:CHUNK])
    return iter(grain.MapDataset.range(num_chunks).map(cut).to_iter_dataset())


def step(params, carry, token):
    carry = jnp.tanh(params["embed"][token] + carry @ params["recurrent"])
    return carry, carry @ params["readout"]


def loss_fn(params, stream, chunk):
    inputs, targets = chunk
    stream, logits = stream_scan(functools.partial(step, params), stream, inputs)
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean(), stream


def train(horizon, num_updates):
    """The last loss of a run, and of one that is resumed half-way: means of 100 updates."""
    optimizer, losses = optax.adam(0.003), []
    train_step = make_train_step(loss_fn, optimizer)

    def run(learner, loader):
        for chunk in itertools.islice(loader, num_updates // 2):
            learner, metrics = train_step(learner, chunk)
            losses.append(metrics.loss)
        return learner, np.mean(losses[-100:])

    shapes = {"embed": (VOCAB, SIZE), "recurrent": (SIZE, SIZE), "readout": (SIZE, VOCAB)}
    keys = dict(zip(shapes, jax.random.split(jax.random.key(0), 3), strict=True))
    params = {k: jax.random.normal(keys[k], shapes[k]) / shapes[k][0] ** 0.5 for k in shapes}
    carry, xs = jnp.zeros((BATCH, SIZE)), jnp.zeros((CHUNK, BATCH), jnp.int32)
    stream, loader = init_stream(carry, xs, horizon=horizon), load(num_updates)
    learner, _ = run(LearnerState(params, optimizer.init(params), stream), loader)
    saved = jax.device_get(learner), loader.get_state()
    resumed = load(num_updates)  # as in another process
    resumed.set_state(saved[1])
    return run(learner, loader)[1], run(saved[0], resumed)[1]


def main(num_updates=2000):
    for horizon in HORIZONS:
        loss, resumed = train(horizon, num_updates)
        print(f"horizon {horizon}: loss {loss:.3f}, resumed {resumed:.3f}", flush=True)


if __name__ == "__main__":
    main()
