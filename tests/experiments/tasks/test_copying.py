"""Episodes ask for what they showed, and nothing but the past tells the answer."""

import jax
import numpy as np
import pytest

from experiments.tasks import copying

pytestmark = pytest.mark.standard
TASK = copying.Task(pattern=3, delay=2, num_symbols=4, batch_size=40, chunk=2)


def test_answer_is_the_symbol_a_lag_ago():
    inputs, answers = map(np.asarray, copying.draw_steps(TASK, jax.random.key(0), 64))
    assert inputs.shape == answers.shape == (64, 40)
    asked = answers[TASK.lag :] >= 0
    np.testing.assert_array_equal(answers[TASK.lag :][asked], inputs[: -TASK.lag][asked])
    np.testing.assert_array_equal(answers >= 0, inputs == TASK.num_symbols + 1)


def test_every_period_shows_a_pattern_blanks_and_as_many_cues_in_any_phase():
    inputs, _ = map(np.asarray, copying.draw_steps(TASK, jax.random.key(0), 4 * TASK.period))
    counts = [np.sum(inputs == value, axis=0) / 4 for value in range(TASK.num_inputs)]
    np.testing.assert_array_equal(counts[4], TASK.delay)
    np.testing.assert_array_equal(counts[5], TASK.pattern)
    np.testing.assert_allclose(np.mean(counts[:4], axis=1), TASK.pattern / 4, atol=0.15)
    assert len(np.unique(np.argmax(inputs == 5, axis=0))) > TASK.period // 2


def test_share_of_right_answers_is_chance_before_it_learns():
    state = copying.start(TASK, jax.random.key(1), 1, "trace")
    steps = copying.draw_steps(TASK, jax.random.key(2), 60)
    _, metrics = copying.make_train(TASK)(state, steps, 0, 30)
    right, due = metrics.aux
    assert abs(due - TASK.pattern / TASK.period) < 0.02 and abs(right / due - 0.25) < 0.1
