"""Styles side by side: the table shows what was measured, and one style's errors reach further."""

import jax
import numpy as np
import pytest

from experiments import reach
from experiments.tasks import delay

pytestmark = pytest.mark.standard


@pytest.fixture
def tiny(monkeypatch):
    """Two updates of a small RNN; the longer delay beyond a horizon of 2."""
    task = delay.Task(4, chunk=4, batch_size=2, state_size=3, milestones=(1, 2))
    for name, value in {
        "HORIZON": 2,
        "DELAYS": (1, 2, 4),
        "TASK": task,
        "SCHEDULES": {"true": (2, 1), "epochwise": (2, 2), "full": (4, 4)},
        "TIMED_UPDATES": 1,
        "ROUNDS": 1,
    }.items():
        monkeypatch.setattr(reach, name, value)
    monkeypatch.setattr(delay, "EVALUATION_CHUNKS", 3)


def test_table_and_sentences_are_what_was_measured(study, tmp_path, tiny):
    found, out = study(reach, "--num_seeds=2")
    rows = found["reach"]["rows"]
    assert [(row["style"], row["horizon"], row["stride"]) for row in rows] == [
        ("true", 2, 1),
        ("epochwise", 2, 2),
        ("full", 4, 4),
    ]
    lines = out.splitlines()
    header = next(i for i, line in enumerate(lines) if line.startswith("style"))
    for row, line in zip(rows, lines[header + 1 :], strict=False):
        style, horizon, stride, *cells = line.split()
        assert (style, int(horizon), int(stride)) == (row["style"], row["horizon"], row["stride"])
        means = np.mean(row["share"], axis=1)  # [delays, milestones]
        expected = [*means.T.ravel(), row["over_full"][1]]
        np.testing.assert_allclose([float(cell) for cell in cells], expected, atol=0.0051)
    assert rows[-1]["over_full"] == [1.0, 1.0, 1.0]
    ahead = sum(t[0] > e[0] for t, e in zip(rows[0]["share"][1], rows[1]["share"][1], strict=True))
    assert f"true more in {ahead} of 2 seeds" in out
    assert (tmp_path / "reach.png").stat().st_size > 1000


def test_shares_are_those_of_single_learners(tiny):
    """Of each delay and key, as `delay.make_learn` finds them one by one."""
    keys = jax.random.split(jax.random.key(1), 2)
    shares, _ = reach.learnt(reach.TASK, 2, 2, keys)
    learn = jax.jit(delay.make_learn(reach.TASK, delay.Pass(2, 2)))
    for i, steps in enumerate(reach.DELAYS):
        for j, key in enumerate(keys):
            np.testing.assert_allclose(shares[i, j], learn(steps, key), atol=1e-5)
