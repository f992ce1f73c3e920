"""The study of the trace: its table is what was measured."""

import numpy as np
import pytest

from experiments import trace
from experiments.tasks import copying

pytestmark = pytest.mark.standard


def test_trace(study, tmp_path, monkeypatch):
    task = copying.Task(pattern=2, delay=1, batch_size=2, state_size=3, chunk=2)
    for name, value in {
        "TASK": task,
        "SCHEDULES": [("cut", 4), ("trace", 1)],
        "NUM_UPDATES": 12,
        "NUM_SEGMENTS": 2,
        "TIMED_UPDATES": 1,
        "ROUNDS": 1,
    }.items():
        monkeypatch.setattr(trace, name, value)
    found, out = study(trace, "--num_seeds=2")
    rows = found["trace"]["rows"]
    assert [(row["tail"], row["steps_run"]) for row in rows] == [
        ("cut", 5),
        ("trace", 2),
    ]
    assert all(np.shape(row["accuracy"]) == (2, 2) for row in rows)
    assert rows[-1]["over_trace"] == [1.0, 1.0, 1.0] and found["trace"]["task"]["lag"] == 3
    assert f"trace        1      2   {np.median(np.array(rows[-1]['accuracy'])[:, -1]):6.3f}" in out
    assert (tmp_path / "trace.png").stat().st_size > 1000


def row(tail, horizon, accuracy, time):
    return {
        "tail": tail,
        "horizon": horizon,
        "accuracy": [[0.0, accuracy]],
        "over_trace": [time] * 3,
    }


@pytest.mark.parametrize(
    "accuracies, said",
    [
        ((0.7, 0.98, 0.994), "within 0.01 of its right answers) is 8;\nits update takes 8.0 times"),
        ((0.7, 0.98, 0.98), "No horizon up to 8 is as good as the trace."),
        ((1.0, 0.98, 0.994), "is 2;\nits update takes 2.0 times the trace's."),
    ],
)
def test_conclusion_names_the_shortest_horizon_that_is_as_good(accuracies, said):
    rows = [row("cut", h, a, float(h)) for h, a in zip((2, 4, 8), accuracies, strict=True)]
    assert said in trace.conclusion({"rows": [*rows, row("trace", 1, 1.0, 1.0)]})
