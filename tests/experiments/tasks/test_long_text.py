"""Pieces of a text: what they start from, how far errors reach, and where losses are taken."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.tasks import long_text
from experiments.tasks.long_text import OTHER, OWN, ZERO, Way

pytestmark = pytest.mark.standard

TASK = long_text.Task(
    batch_size=3, state_size=4, embed_size=3, hidden_size=5, piece=4, num_updates=3
)
VOCAB = 5
TEXT = jax.random.randint(jax.random.key(7), (50,), 0, VOCAB)


def learnt(way, **changes):
    """Parameters after the updates of a task."""
    task = TASK._replace(**changes)
    model = long_text.make_model(task, "lru", VOCAB)
    state = long_text.start(task, model, way, jax.random.key(0))
    train = long_text.make_train(task, model, way)
    return train(state, TEXT, jax.random.key(1), 0, task.num_updates).params


def distance(one, two):
    leaves = map(jax.tree.leaves, (one, two))
    return max(float(jnp.max(jnp.abs(a - b))) for a, b in zip(*leaves, strict=True))


def test_ways_are_the_same_in_the_first_piece_and_differ_after_it():
    ways = [Way(ZERO, 4, 4), Way(OTHER, 4, 4), Way(OWN, 4, 4), Way(OWN, 8, 4)]
    first = [learnt(way, num_updates=1) for way in ways]
    assert all(distance(first[0], each) < 1e-6 for each in first)
    later = [learnt(way) for way in ways]
    pairs = [(i, j) for i in range(4) for j in range(i)]
    assert all(distance(later[i], later[j]) > 1e-5 for i, j in pairs)


def test_zero_for_starts_from_zero_that_long():
    zero, other = learnt(Way(ZERO, 4, 4)), learnt(Way(OTHER, 4, 4))
    assert distance(learnt(Way(OTHER, 4, 4, zero_for=3)), zero) == 0.0
    assert distance(learnt(Way(OTHER, 4, 4, zero_for=1)), other) < 1e-6
    mixed = learnt(Way(OTHER, 4, 4, zero_for=2))
    assert distance(mixed, zero) > 1e-5 and distance(mixed, other) > 1e-5


@pytest.mark.parametrize("cell", ["lru", "gru"])
def test_losses_are_of_the_same_characters_behind_so_many(cell):
    """Of all lengths; and each is what a plain loop over the text before a character gives."""
    model = long_text.make_model(TASK, cell, VOCAB)
    params = model.init_params(jax.random.key(0))
    longest, num = 8, 16
    step = jax.jit(model.step)

    @functools.cache
    def loss(start, at):
        """Of the character `at`, read from `start` on."""
        carry, y = model.init_carry(1), None
        for x in TEXT[start:at]:
            carry, y = step(params, carry, x[None])
        return -jax.nn.log_softmax(model.logits(params, y))[0, TEXT[at]], carry

    for length in (2, longest):
        asked = np.arange(longest + 1, longest + num + 1)
        starts = longest - length + (asked - longest - 1) // length * length
        found = long_text.windows(TEXT, length, longest, num)
        assert found.shape == (2 * length + 1, num // length)
        np.testing.assert_array_equal(jnp.ravel(found[length + 1 :].T), TEXT[asked])
        mean, size = long_text.make_evaluate(model)(params, found)
        of = [loss(int(start), int(at)) for start, at in zip(starts, asked, strict=True)]
        np.testing.assert_allclose(mean, np.mean([each[0] for each in of]), rtol=1e-5)
        ends = [carry for _, carry in of[length - 1 :: length]]
        squares = np.mean([np.abs(leaf) ** 2 for leaf in jax.tree.leaves(ends)])
        np.testing.assert_allclose(size, squares**0.5, rtol=1e-5)
