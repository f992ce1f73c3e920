"""The brackets agree, have the entropy that is said, and their distances are true."""

import itertools
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
    """(inputs, targets, distances) of one chunk, and the text after it."""
    start = brackets.Text(brackets.none_open(TASK), jnp.full(TASK.batch_size, 7))
    after, found = jax.jit(lambda text, key: brackets.next_chunk(TASK, text, key))(
        start, jax.random.key(0)
    )
    return *map(np.asarray, found), after


def test_brackets_close_the_last_that_is_open(chunk):
    inputs, targets, distances, after = chunk
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


def test_entropy_is_that_of_the_text(chunk):
    """The mean of -log p of each symbol, its probability from the depth before it."""
    _, targets, _, _ = chunk
    q, total = TASK.filler_prob, 0.0
    for symbols in targets.T:
        depth = 0
        for symbol in symbols:
            if symbol >= 2 * TASK.kinds:
                total -= math.log(q / TASK.fillers)
                continue
            opens = symbol < TASK.kinds
            side = 1.0 if depth in (0, TASK.max_depth) else 0.5
            total -= math.log((1.0 - q) * side / (TASK.kinds if opens else 1))
            depth += 1 if opens else -1
    assert math.isclose(total / targets.size, TASK.entropy, rel_tol=0.005)


@pytest.mark.parametrize("cell", ["vanilla", "lstm"])
def test_what_is_learnt_is_near_the_entropy_and_counted_by_distance(cell):
    task = brackets.Task(max_depth=1, fillers=1, filler_prob=0.1, state_size=8, learning_rate=0.02)
    state = brackets.start(task, cell, 4, jax.random.key(0))
    evaluate = jax.jit(brackets.make_evaluate(task, cell, 20, (1, 2, 4, 1000)))
    before, _, _ = evaluate(state, jax.random.key(2))
    assert before > task.entropy + 0.3
    state = jax.jit(brackets.make_train(task, cell))(state, jax.random.key(1), 0, 400)
    loss, right, total = evaluate(state, jax.random.key(2))
    assert task.entropy - 0.02 < loss < task.entropy + 0.05
    assert right[0] == total[0] and right[1] / total[1] > 0.9
    gaps = [0.9 * 0.1 ** (d - 1) for d in (1, 2, 3)]
    expected = [gaps[0], gaps[1] + gaps[2], 1.0 - sum(gaps)]
    np.testing.assert_allclose(total / total.sum(), expected, atol=0.01)
    assert all(a >= b for a, b in itertools.pairwise(total.tolist()))
