"""The study of the copy task: a row for each K, beside the paper's perplexity."""

import numpy as np
import pytest

from experiments.studies import adaptive

pytestmark = pytest.mark.standard


def test_adaptive(study, tmp_path, monkeypatch):
    sizes = {"memory": 2, "batch_size": 2, "state_size": 4, "epoch": 10, "test_steps": 8}
    monkeypatch.setattr(adaptive, "TASK", adaptive.TASK._replace(**sizes))
    monkeypatch.setattr(adaptive, "KS", (5, 10))
    monkeypatch.setattr(adaptive, "NUM_EPOCHS", 2)
    args = "--num_seeds=2", f"--scratch={tmp_path / 'scratch'}"
    found, out = study(adaptive, *args)
    rows = found["adaptive"]["rows"]
    assert [(row["k"], row["theirs"]) for row in rows] == [(5, 1.646), (10, 1.036)]
    assert np.shape(rows[0]["perplexity"]) == (2, 2) and "1.646" in out
    assert (tmp_path / "adaptive.png").stat().st_size > 1000
    monkeypatch.setattr(adaptive, "learn", None)
    assert study(adaptive, *args)[0]["adaptive"]["rows"] == rows
