"""The brackets agree, have the entropy that is said, and their distances are true."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.tasks import brackets

pytestmark = pytest.mark.standard

TASK = brackets.Task(kinds=3, fillers=2, filler_prob=0.4, max_depth=3, batch_size=20, chunk=2000)


@pytest.fixture(scope="module")
def chunk():
    """One chunk: the text after it, inputs, and targets."""
    start = brackets.Text(brackets.none_open(TASK), jnp.full(TASK.batch_size, 7))
    draw = jax.jit(lambda text, key: brackets.next_chunk(TASK, text, key))
    return jax.tree.map(np.asarray, draw(start, jax.random.key(0)))


def test_brackets_close_the_last_that_is_open(chunk):
    after, inputs, (targets, distances, _) = chunk
    np.testing.assert_array_equal(inputs[1:], targets[:-1])
    for b, (symbols, back) in enumerate(zip(targets.T, distances.T, strict=True)):
        stack = []
        for t, (symbol, distance) in enumerate(zip(symbols, back, strict=True)):
            if symbol < TASK.kinds:
                stack.append((t, symbol))
                assert len(stack) <= TASK.max_depth
            elif symbol < 2 * TASK.kinds:
                opened, kind = stack.pop()
                assert (symbol - TASK.kinds, distance) == (kind, t - opened)
                continue
            assert distance == 0
        assert after.brackets.depth[b] == len(stack)


def test_surprisal_is_that_of_the_depth_before_and_its_mean_the_entropy(chunk):
    _, _, (targets, _, surprisals) = chunk
    q = TASK.filler_prob
    for symbols, said in zip(targets.T, surprisals.T, strict=True):
        depth, expected = 0, []
        for symbol in symbols:
            opens, side = symbol < TASK.kinds, 1.0 if depth in (0, TASK.max_depth) else 0.5
            if symbol >= 2 * TASK.kinds:
                expected.append(-math.log(q / TASK.fillers))
                continue
            expected.append(-math.log((1.0 - q) * side / (TASK.kinds if opens else 1)))
            depth += 1 if opens else -1
        np.testing.assert_allclose(said, expected, rtol=1e-5)
    assert math.isclose(surprisals.mean(), TASK.entropy, rel_tol=0.005)


@pytest.mark.parametrize("cell", ["vanilla", "lstm"])
def test_what_is_learnt_is_near_the_entropy_and_counted_by_distance(cell):
    task = brackets.Task(max_depth=1, fillers=1, filler_prob=0.1, state_size=8, learning_rate=0.02)
    state = brackets.start(task, cell, 4, jax.random.key(0))
    evaluate = jax.jit(brackets.make_evaluate(task, cell, 20, (1, 2, 4, 1000)))
    before = evaluate(state, jax.random.key(2)).excess
    assert before > 0.3
    state = jax.jit(brackets.make_train(task, cell))(state, jax.random.key(1), 0, 400)
    seen = evaluate(state, jax.random.key(2))
    assert 0.0 < seen.excess < 0.05
    assert seen.right[0] == seen.total[0] and seen.right[1] / seen.total[1] > 0.9
    assert 0.0 < seen.kind_loss[0] / seen.total[0] < 0.05
    gaps = [0.9 * 0.1 ** (d - 1) for d in (1, 2, 3)]
    expected = [gaps[0], gaps[1] + gaps[2], 1.0 - sum(gaps)]
    np.testing.assert_allclose(seen.total / seen.total.sum(), expected, atol=0.01)
