"""The jitted steps for other projects: against optax by hand, and against plain Python loops."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from frameworks import needed
from jax.flatten_util import ravel_pytree

from tbptt_jax import (
    LearnerState,
    Metrics,
    init_stream,
    make_eval_step,
    make_online_loop,
    make_train_loop,
    make_train_step,
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


def loss_fn(params, stream, batch):
    xs, targets = batch
    stream, ys = stream_scan(functools.partial(step, params), stream, xs)
    return jnp.mean((ys - targets) ** 2), stream


def start(optimizer, horizon=5, stride=1):
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = {"recurrent": (N, N), "input": (M, N), "readout": (N,)}
    params = {
        name: jax.random.normal(key, shape) / 2
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
    stream = init_stream(jnp.zeros(N), jnp.zeros((1, M)), horizon=horizon, stride=stride)
    return LearnerState(params, optimizer.init(params), stream)


def batches(num):
    keys = jax.random.split(jax.random.key(1))
    return jax.random.normal(keys[0], (num, 3, M)), jax.random.normal(keys[1], (num, 3))


def batch(source, i):
    return jax.tree.map(lambda leaf: leaf[i], source)


def by_hand(state, optimizer, source, num):
    metrics = []
    grad = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
    for i in range(num):
        (loss, stream), grads = grad(state.params, state.carry, batch(source, i))
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        state = LearnerState(optax.apply_updates(state.params, updates), opt_state, stream)
        metrics.append(Metrics(loss, jnp.linalg.norm(ravel_pytree(grads)[0]), None))
    return state, jax.tree.map(lambda *leaves: jnp.stack(leaves), *metrics)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_step_scan_and_loop_are_optax_by_hand(name):
    optimizer, source = OPTIMIZERS[name], batches(7)
    expected, metrics = by_hand(start(optimizer), optimizer, source, 7)
    train_step = make_train_step(loss_fn, optimizer)
    state = start(optimizer)
    for i in range(7):
        state, of_step = train_step(state, batch(source, i))
        chex.assert_trees_all_close(of_step, batch(metrics, i), rtol=1e-5)
    chex.assert_trees_all_close(state, expected, rtol=1e-4, atol=1e-6)
    state, scanned = jax.lax.scan(train_step, start(optimizer), source)
    chex.assert_trees_all_close((state, scanned), (expected, metrics), rtol=1e-4, atol=1e-6)
    train_loop = make_train_loop(loss_fn, optimizer, batch)
    state, first = train_loop(start(optimizer), source, 0, 4)
    state, second = train_loop(state, source, 4, 7)
    means = [
        jax.tree.map(lambda m, at=at: np.mean(m[at]), metrics) for at in (slice(4), slice(4, 7))
    ]
    chex.assert_trees_all_close((state, [first, second]), (expected, means), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("donate", [False, True])
def test_everything_is_compiled_once_and_the_state_donated_if_it_may_be(donate):
    optimizer, source, traced = OPTIMIZERS["adam"], batches(4), []

    def counted(loss):
        def run(*args):
            traced.append(loss)
            return loss(*args)

        return run

    train_step = make_train_step(counted(loss_fn), optimizer, donate=donate)
    train_loop = make_train_loop(counted(loss_fn), optimizer, batch, donate=donate)
    learn = make_online_loop(step, counted(square), optimizer, inputs, donate=donate)
    key, state = jax.random.key(0), start(optimizer)
    for run, calls in (
        (train_step, [(batch(source, i),) for i in range(3)]),
        (train_loop, [(source, 0, 2), (source, 2, 4), (source, 1, 1)]),
        (learn, [(key, 0, 2), (key, 2, 5)]),
    ):
        for i, args in enumerate(calls):
            old = state
            state, _ = run(old, *args)
            if i == 0:
                after_first = len(traced)
            leaves = jax.tree.leaves((old.params, old.carry.carry))
            assert {leaf.is_deleted() for leaf in leaves} == {donate}
        assert len(traced) == after_first


def test_aux_of_a_step_a_loop_and_an_evaluation():
    optimizer, source = optax.sgd(0.1), batches(4)

    def with_aux(params, stream, batch):
        loss, stream = loss_fn(params, stream, batch)
        return loss, (stream, {"largest": jnp.max(batch[0]), "positive": jnp.sum(batch[1] > 0)})

    train_step = make_train_step(with_aux, optimizer, has_aux=True)
    _, metrics = jax.lax.scan(train_step, start(optimizer), source)
    largest, positive = source[0].max(axis=(1, 2)), (source[1] > 0).sum(axis=1)
    chex.assert_trees_all_close(metrics.aux, {"largest": largest, "positive": positive})
    loop = make_train_loop(with_aux, optimizer, batch, has_aux=True)
    _, means = loop(start(optimizer), source, 0, 4)
    np.testing.assert_allclose(means.aux["largest"], largest.mean(), rtol=1e-6)
    np.testing.assert_allclose(means.aux["positive"], positive.mean(), rtol=1e-6)
    state = start(optimizer)
    evaluate = make_eval_step(with_aux, has_aux=True)
    _, evaluated = evaluate(state.params, state.carry, batch(source, 0))
    np.testing.assert_allclose(evaluated.loss, metrics.loss[0], rtol=1e-6)
    assert evaluated.grad_norm is None and evaluated.aux["positive"] == positive[0]


def test_mean_loss_in_low_precision_and_where_there_is_none():
    optimizer = optax.sgd(0.0)

    def mean(first, last, loss):
        loss_fn = lambda params, carry, batch: ((params * 0 + loss).astype(jnp.float16), carry)
        state = LearnerState(jnp.float32(1.0), optimizer.init(1.0), ())
        loop = make_train_loop(loss_fn, optimizer, lambda source, i: ())
        return loop(state, (), first, last)[1].loss

    half = float(jnp.float16(0.7))
    np.testing.assert_allclose(mean(0, 200_000, half), half, rtol=1e-6)
    assert mean(0, 0, 0.7).dtype == jnp.float32
    assert np.isnan(mean(0, 0, 0.7)) and np.isnan(mean(5, 2, 0.7)) and np.isinf(mean(0, 9, np.inf))


def test_low_precision_parameters_stay_so():
    optimizer = optax.sgd(0.1)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), start(optimizer).params)
    loss = lambda params, carry, batch: (
        sum(jnp.sum(leaf.astype(jnp.float32) ** 2) for leaf in jax.tree.leaves(params)),
        carry,
    )
    scaled = optax.chain(optimizer, optax.scale(jnp.float32(1.0)))
    state = LearnerState(params, scaled.init(params), ())
    state, _ = make_train_step(loss, scaled)(state, ())
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize(
    ("first", "last"),
    [(np.int8(-100), np.int8(100)), (jnp.int32(1), np.uint8(3)), (0, jnp.uint8(200))],
)
def test_bounds_of_any_integer_type(first, last):
    """Whose difference a small one does not hold; strict promotion mixes no integers and floats."""
    optimizer = optax.sgd(0.0)
    state = LearnerState(jnp.float32(1.0), optimizer.init(1.0), ())
    loss_fn = lambda params, carry, i: (params * i.astype(params.dtype), carry)
    loop = make_train_loop(loss_fn, optimizer, lambda source, i: i)
    with jax.numpy_dtype_promotion("strict"):
        loss = loop(state, (), first, last)[1].loss
    np.testing.assert_allclose(loss, (int(first) + int(last) - 1) / 2, rtol=1e-6)


def test_steps_of_a_stream_are_counted_in_int32():
    def inputs(_, t):
        assert t.dtype == jnp.int32
        return t.astype(jnp.float32), jnp.zeros(())

    optimizer = optax.sgd(0.0)
    cell = lambda w, c, x: (c, w * x)
    run = make_online_loop(cell, lambda w, y, target: y, optimizer, inputs)
    stream = init_stream(jnp.float32(0.0), jnp.zeros(2), horizon=2, stride=2)
    state = LearnerState(jnp.ones(()), optimizer.init(1.0), stream)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        loss = run(state, None, np.int8(1), jnp.int32(3))[1].loss
    np.testing.assert_allclose(loss, (2 + 3 + 4 + 5) / 4)


def test_mean_loss_counts_every_one_of_many_updates():
    """In float32 a plain sum of so many terms is off in its fourth digit."""
    loss = lambda params, carry, batch: (params * 0.0 + 0.1, carry)
    optimizer = optax.sgd(1.0)
    state = LearnerState(jnp.float32(0.0), optimizer.init(jnp.float32(0.0)), ())
    _, mean = make_train_loop(loss, optimizer, lambda source, i: ())(state, (), 0, 3_000_000)
    np.testing.assert_allclose(mean.loss, 0.1, rtol=1e-6)


def inputs(key, t):
    x = jax.random.normal(jax.random.fold_in(key, t), (M,))
    return x, jnp.sin(0.3 * t)


@pytest.mark.parametrize("stride, num_updates", [(1, 1000), (3, 300)])
def test_online_updates_are_those_of_a_plain_loop(stride, num_updates):
    """k1 = stride, k2 = horizon: the steps before are run again from a kept carry, as by hand."""
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
    run = make_online_loop(step, square, optimizer, inputs)
    state, first = run(state, key, 0, 10)
    state, second = run(state, key, 10, num_updates)
    chex.assert_trees_all_close(state.params, params, rtol=1e-3, atol=1e-4)
    mean = (10 * first.loss + (num_updates - 10) * second.loss) / num_updates
    np.testing.assert_allclose(mean, total / num_updates, rtol=1e-4)


def test_evaluation_needs_no_history():
    """A stream of horizon 1 gives the losses of any other."""
    params, source = start(optax.sgd(0.1)).params, batches(5)
    eval_step = make_eval_step(loss_fn)
    losses = []
    for horizon in (1, 7):
        stream = init_stream(jnp.zeros(N), source[0][0], horizon=horizon)
        losses.append(jax.lax.scan(functools.partial(eval_step, params), stream, source)[1].loss)
    np.testing.assert_allclose(*losses, rtol=1e-6)


def test_several_updates_on_one_rollout_do_not_advance_the_carry():
    """As recurrent PPO learns: epochs from the same carry, which evaluation then advances once."""
    optimizer, source = optax.sgd(0.1), batches(1)
    rollout = batch(source, 0)
    stay = lambda params, stream, batch: (loss_fn(params, stream, batch)[0], stream)
    train_step, eval_step = make_train_step(stay, optimizer), make_eval_step(loss_fn)
    state, params, stream = start(optimizer), start(optimizer).params, start(optimizer).carry
    for _ in range(3):
        state, _ = train_step(state, rollout)
        grads = jax.grad(lambda params: loss_fn(params, stream, rollout)[0])(params)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
    chex.assert_trees_all_close(state.params, params, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_equal(state.carry, stream)
    after, _ = eval_step(state.params, state.carry, rollout)
    chex.assert_trees_all_close(after, loss_fn(params, stream, rollout)[1], rtol=1e-5, atol=1e-6)
