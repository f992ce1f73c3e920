"""The explorer's gradients, in JavaScript, are those of the library."""

import chex
import javascript
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tbptt_jax import effective_horizon, init_stream, lag_spectrum, stream_scan, truncated_scan

N = 5
SHAPES = {"recurrent": (N, N), "input": (N,), "bias": (N,), "readout": (N,), "readout_bias": ()}
SCHEDULES = [
    (1, 1, 1),
    (9, 1, 1),
    (9, 4, 1),
    (9, 4, 2),
    (9, 4, 3),
    (9, 5, 4),  # the last block is shorter, and its pass reaches into the one before
    (9, 4, 4),
    (9, 9, 2),
    (9, 20, 7),
]


def vector():
    """The parameters as one vector, as the page holds them; dynamics that do not contract."""
    sizes = [int(np.prod(shape)) for shape in SHAPES.values()]
    return 0.8 * np.random.default_rng(0).normal(size=sum(sizes))


def named(vector):
    ends = np.cumsum([int(np.prod(shape)) for shape in SHAPES.values()])[:-1]
    parts = jnp.split(jnp.asarray(vector), ends)
    return {name: part.reshape(SHAPES[name]) for name, part in zip(SHAPES, parts, strict=True)}


def flat(tree):
    """A tree of parameters, or of parts [H, ...] of them, as vectors."""
    leaves = [np.asarray(tree[name]) for name in SHAPES]
    lead = leaves[-1].shape
    return np.concatenate([leaf.reshape(*lead, -1) for leaf in leaves], axis=-1)


def sequence(T):
    """Symbols and targets of -1 and +1, and a carry to begin with."""
    rng = np.random.default_rng(T)
    return rng.choice([-1.0, 1.0], T), rng.choice([-1.0, 1.0], T), 0.3 * rng.normal(size=N)


def cell(params, carry, x):
    total = params["recurrent"] @ carry + params["input"] * x + params["bias"]
    carry = jnp.tanh(total)
    return carry, jnp.dot(params["readout"], carry) + params["readout_bias"]


def mean_loss(logits, targets):
    return jnp.mean(jax.nn.softplus(-targets * logits))


def of_the_page(symbols, targets, carry, horizon, stride, first_loss=0):
    """The loss, the gradient and its parts by lag, as the page computes them."""
    return javascript.evaluate(
        """
        const [params, symbols, carry] = [given.params, given.symbols, given.carry]
          .map((values) => Float64Array.from(values));
        const run = rnn.forward(params, carry, symbols);
        const errors = bptt.logitErrors(run.logits, given.targets, given.from);
        const losses = [...run.logits].map((logit, s) => rnn.loss(logit, given.targets[s]));
        const passes = schedule.passes(symbols.length, given.horizon, given.stride, given.from);
        const arrived = bptt.truncatedErrors(params, run.carries, errors, passes);
        return {
          loss: losses.slice(given.from).reduce((a, b) => a + b) / (losses.length - given.from),
          gradient: bptt.gradient(arrived, errors, run.carries, symbols),
          parts: bptt.lagParts(params, run, symbols, errors, symbols.length),
        };
        """,
        params=vector().tolist(),
        symbols=symbols.tolist(),
        targets=targets.tolist(),
        carry=carry.tolist(),
        horizon=horizon,
        stride=stride,
        **{"from": first_loss},
    )


def assert_close(found, expected):
    scale = np.max(np.abs(expected))
    chex.assert_trees_all_close(np.array(found) / scale, expected / scale, rtol=0.0, atol=1e-13)


@pytest.mark.parametrize("T, horizon, stride", SCHEDULES)
def test_loss_and_gradient_are_those_of_truncated_scan(T, horizon, stride):
    symbols, targets, carry = sequence(T)

    def loss_fn(params):
        step = lambda carry, x: cell(params, carry, x)
        logits = truncated_scan(step, jnp.array(carry), symbols, horizon=horizon, stride=stride)[1]
        return mean_loss(logits, targets)

    loss, grads = jax.jit(jax.value_and_grad(loss_fn))(named(vector()))
    found = of_the_page(symbols, targets, carry, horizon, stride)
    assert_close(found["loss"], np.asarray(loss))
    assert_close(found["gradient"], flat(grads))


@pytest.mark.parametrize("horizon, stride", [(5, 1), (5, 3), (7, 4), (4, 4)])
def test_gradient_of_a_chunk_is_that_of_stream_scan(horizon, stride):
    """Blocks are counted from the chunk's begin; its history need not be a multiple of them."""
    history, length = horizon - stride, 2 * stride
    before = 4 * stride  # a stream's chunks are
    symbols, targets, carry = sequence(before + length)

    def loss_fn(params):
        step = lambda carry, x: cell(params, carry, x)
        stream = init_stream(jnp.array(carry), symbols, horizon=horizon, stride=stride)
        stream, _ = stream_scan(step, stream, symbols[:before])
        return mean_loss(stream_scan(step, stream, symbols[before:])[1], targets[before:])

    params, start = named(vector()), before - history
    grads = jax.jit(jax.grad(loss_fn))(params)
    step = lambda carry, x: cell(params, carry, x)
    carry, _ = jax.lax.scan(step, jnp.array(carry), symbols[:start])
    problem = symbols[start:], targets[start:], carry
    assert_close(of_the_page(*problem, horizon, stride, history)["gradient"], flat(grads))


def test_a_learner_goes_on_where_its_streams_were():
    """After two chunks the carry is that of the whole stream, up to the next chunk's history."""
    carries, expected = javascript.evaluate(
        """
        learner.NETWORK.learningRate = 0; // the parameters stay
        const network = learner.createLearner({ delay: 40, horizon: 7, stride: 4, seed: 1 });
        const past = network.streams[0].symbols;
        const stream = [...past];
        for (let i = 0; i < 2; i++) {
          learner.update(network);
          stream.push(...network.streams[0].symbols.slice(-network.length));
        }
        const begin = past.length - 1 - network.history;
        const consumed = Float64Array.from(stream.slice(begin, begin + 2 * network.length));
        const zero = new Float64Array(learner.NETWORK.N);
        const run = rnn.forward(network.params, zero, consumed);
        return [network.streams[0].carry, run.carries.at(-1)];
        """
    )
    assert carries == expected
    assert max(map(abs, carries)) > 0.1


def test_parts_by_lag_are_those_of_lag_spectrum():
    T = 9
    symbols, targets, carry = sequence(T)
    loss_fn = lambda params, ys, targets: mean_loss(ys, targets)
    spectrum_fn = jax.jit(lag_spectrum(cell, loss_fn, horizon=T, parts=True))
    parts = flat(spectrum_fn(named(vector()), jnp.array(carry), symbols, targets).parts)
    found = of_the_page(symbols, targets, carry, T, 1)["parts"]
    for lag in range(T):
        assert_close(found[lag], parts[lag])


def test_parts_of_the_first_lags_add_up_to_the_gradient_of_the_horizon():
    """The page's check line, on a network that has learnt."""
    differences, norms = javascript.evaluate(
        """
        const network = learner.createLearner({ delay: 4, horizon: 6, stride: 1, seed: 1 });
        for (let i = 0; i < 50; i++) learner.update(network);
        const batch = spectrum.runBatch(network.params, learner.NETWORK.N, 4);
        const parts = spectrum.partsByLag(network.params, batch);
        const difference = (h) => spectrum.relativeDifference(
          parts.slice(0, h), spectrum.gradientOfHorizon(network.params, batch, h));
        return [[1, 2, 5, spectrum.NUM_STEPS].map(difference), parts.map(spectrum.norm)];
        """
    )
    assert max(differences) < 1e-14
    assert min(norms[:5]) > 1e-3  # none of the parts is small by luck


@pytest.mark.parametrize("fraction", [0.5, 0.99, 1.0])
def test_effective_horizon_is_the_librarys(fraction):
    norms = [3.0, 1.0, 0.0, 0.5, 0.02, 0.0]
    found = javascript.evaluate(
        "return spectrum.effectiveHorizon(given.norms, given.fraction)",
        norms=norms,
        fraction=fraction,
    )
    assert found == effective_horizon(jnp.array(norms), fraction=fraction)


def test_a_delay_is_learnt_below_the_horizon_and_not_beyond():
    below, beyond = javascript.evaluate(
        """
        return [2, 6].map((delay) => {
          const network = learner.createLearner({ delay, horizon: 3, stride: 1, seed: 1 });
          for (let i = 0; i < 250; i++) learner.update(network);
          const recent = network.losses.slice(-50);
          return delay_task.learntShare(recent.reduce((a, b) => a + b) / recent.length);
        });
        """
    )
    assert below > 0.9 and beyond < 0.1
