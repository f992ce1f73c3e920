"""The jitted steps for other projects: against optax by hand, and against plain Python loops."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from frameworks import needed

from tbptt_jax import (
    TrainState,
    init_window,
    make_eval_step,
    make_train_loop,
    make_train_step,
    online,
    stream_scan,
)

optax = needed("optax")
pytestmark = pytest.mark.standard  # optax does not bear strict promotion
N, M = 4, 2
OPTIMIZERS = {
    "adam": optax.adam(0.01),
    "clipped": optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(0.5)),
    "accumulated": optax.MultiSteps(optax.adam(0.01), every_k_schedule=3),
}


def step(params, carry, x):
    carry = jnp.tanh(carry @ params["recurrent"] + x @ params["input"])
    return carry, carry @ params["readout"]


def square(params, y, target):
    return jnp.sum((y - target) ** 2)


def loss_fn(params, window, batch):
    xs, targets = batch
    window, ys = stream_scan(functools.partial(step, params), window, xs)
    return jnp.mean((ys - targets) ** 2), window


def start(optimizer, horizon=5, stride=1):
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = {"recurrent": (N, N), "input": (M, N), "readout": (N,)}
    params = {
        name: jax.random.normal(key, shape) / 2
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
    window = init_window(jnp.zeros(N), jnp.zeros((1, M)), horizon=horizon, stride=stride)
    return TrainState(params, optimizer.init(params), window)


def batches(num):
    keys = jax.random.split(jax.random.key(1))
    return jax.random.normal(keys[0], (num, 3, M)), jax.random.normal(keys[1], (num, 3))


def batch(source, i):
    return jax.tree.map(lambda leaf: leaf[i], source)


def by_hand(state, optimizer, source, num):
    losses = []
    for i in range(num):
        grad = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, window), grads = grad(state.params, state.memory, batch(source, i))
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        state = TrainState(optax.apply_updates(state.params, updates), opt_state, window)
        losses.append(loss)
    return state, losses


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_step_scan_and_loop_are_optax_by_hand(name):
    optimizer, source = OPTIMIZERS[name], batches(7)
    expected, losses = by_hand(start(optimizer), optimizer, source, 7)
    losses = jnp.stack(losses)
    train_step = make_train_step(loss_fn, optimizer)
    state = start(optimizer)
    for i in range(7):
        state, loss = train_step(state, batch(source, i))
        np.testing.assert_allclose(loss, losses[i], rtol=1e-5)
    chex.assert_trees_all_close(state, expected, rtol=1e-4, atol=1e-6)
    state, scanned = jax.lax.scan(train_step, start(optimizer), source)
    chex.assert_trees_all_close((state, scanned), (expected, losses), rtol=1e-4, atol=1e-6)
    train_loop = make_train_loop(loss_fn, optimizer, batch)
    state, first = train_loop(start(optimizer), source, 0, 4)
    state, second = train_loop(state, source, 4, 7)
    means = np.mean(losses[:4]), np.mean(losses[4:])
    chex.assert_trees_all_close((state, (first, second)), (expected, means), rtol=1e-4, atol=1e-6)


def test_state_is_donated_and_everything_compiled_once():
    optimizer, source = OPTIMIZERS["adam"], batches(4)
    train_step = make_train_step(loss_fn, optimizer)
    train_loop = make_train_loop(loss_fn, optimizer, batch)
    learn = online(step, square, optimizer, inputs)
    state = start(optimizer)
    calls = [lambda state, i=i: train_step(state, batch(source, i)) for i in range(3)]
    calls += [lambda state, b=b: train_loop(state, source, *b) for b in ((0, 2), (2, 4), (1, 1))]
    calls += [lambda state, n=n: learn(state, jax.random.key(0), 0, n) for n in (2, 3)]
    for call in calls:
        old = state
        state, _ = call(old)
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves((old.params, old.memory.carry)))
    assert [f._cache_size() for f in (train_step, train_loop, learn)] == [1, 1, 1]


def test_mean_loss_in_low_precision_and_where_there_is_none():
    optimizer = optax.sgd(0.0)

    def mean(first, last, loss):
        loss_fn = lambda params, memory, batch: ((params * 0 + loss).astype(jnp.float16), memory)
        state = TrainState(jnp.float32(1.0), optimizer.init(1.0), ())
        loop = make_train_loop(loss_fn, optimizer, lambda source, i: ())
        return loop(state, (), first, last)[1]

    np.testing.assert_allclose(mean(0, 200_000, 0.7), jnp.float16(0.7), rtol=1e-6)
    assert mean(0, 0, 0.7).dtype == jnp.float32
    assert np.isnan(mean(0, 0, 0.7)) and np.isnan(mean(5, 2, 0.7)) and np.isinf(mean(0, 9, np.inf))


def test_online_refuses_in_one_line():
    optimizer = optax.sgd(0.1)
    state = start(optimizer)
    with pytest.raises(TypeError, match=r"memory must be a Window, got float32\[4\]"):
        online(step, square, optimizer, inputs)(
            state._replace(memory=jnp.zeros(N)), jax.random.key(0), 0, 1
        )
    vector = lambda params, y, target: jnp.stack([y, target])
    with pytest.raises(TypeError, match="online: loss_fn must return a real scalar for each step"):
        online(step, vector, optimizer, inputs)(start(optimizer), jax.random.key(0), 0, 1)


def test_low_precision_parameters_stay_so():
    optimizer = optax.sgd(0.1)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), start(optimizer).params)
    loss = lambda params, memory, batch: (
        sum(jnp.sum(leaf.astype(jnp.float32) ** 2) for leaf in jax.tree.leaves(params)),
        memory,
    )
    scaled = optax.chain(optimizer, optax.scale(jnp.float32(1.0)))
    state = TrainState(params, scaled.init(params), ())
    state, _ = make_train_step(loss, scaled)(state, ())
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype(jnp.bfloat16)}


def test_mean_loss_counts_every_one_of_many_updates():
    """In float32 a plain sum of so many terms is off in its fourth digit."""
    loss = lambda params, memory, batch: (params * 0.0 + 0.1, memory)
    optimizer = optax.sgd(1.0)
    state = TrainState(jnp.float32(0.0), optimizer.init(jnp.float32(0.0)), ())
    _, mean = make_train_loop(loss, optimizer, lambda source, i: ())(state, (), 0, 3_000_000)
    np.testing.assert_allclose(mean, 0.1, rtol=1e-6)


def inputs(key, t):
    x = jax.random.normal(jax.random.fold_in(key, t), (M,))
    return x, jnp.sin(0.3 * t)


@pytest.mark.parametrize("stride, num_updates", [(1, 1000), (3, 300)])
def test_online_updates_are_those_of_a_plain_loop(stride, num_updates):
    """k1 = stride, k2 = horizon: the window is run again from its kept carry, as by hand."""
    horizon, rate, key = 5, 0.02, jax.random.key(2)
    optimizer = optax.sgd(rate)
    state = start(optimizer, horizon, stride)
    params, kept, seen, total = state.params, jnp.zeros(N), [], 0.0
    history = horizon - stride

    def loss(params, carry, seen, num_new):
        total = 0.0
        for i, (x, target) in enumerate(seen):
            carry, y = step(params, carry, x)
            if i >= len(seen) - num_new:
                total += square(params, y, target) / num_new
        return total

    def carries(params, carry, seen):
        all_carries = [carry]
        for x, _ in seen:
            all_carries.append(step(params, all_carries[-1], x)[0])
        return all_carries

    update = jax.jit(jax.value_and_grad(loss), static_argnums=3)
    carries = jax.jit(carries)
    for i in range(num_updates):
        seen = seen + [inputs(key, t) for t in range(i * stride, (i + 1) * stride)]
        value, grads = update(params, kept, seen, stride)
        total += float(value)
        num_left = min(len(seen), history)
        kept = carries(params, kept, seen)[len(seen) - num_left]
        seen = seen[len(seen) - num_left :]
        params = jax.tree.map(lambda p, g: p - rate * g, params, grads)
    run = online(step, square, optimizer, inputs)
    state, first = run(state, key, 0, 10)
    state, second = run(state, key, 10, num_updates)
    chex.assert_trees_all_close(state.params, params, rtol=1e-3, atol=1e-4)
    mean = (10 * first + (num_updates - 10) * second) / num_updates
    np.testing.assert_allclose(mean, total / num_updates, rtol=1e-4)
    assert run._cache_size() == 1


def test_evaluation_needs_no_history():
    """A window of horizon 1 gives the losses of any other."""
    params, source = start(optax.sgd(0.1)).params, batches(5)
    eval_step = make_eval_step(loss_fn)
    losses = []
    for horizon in (1, 7):
        window = init_window(jnp.zeros(N), source[0][0], horizon=horizon)
        losses.append(jax.lax.scan(functools.partial(eval_step, params), window, source)[1])
    np.testing.assert_allclose(*losses, rtol=1e-6)
