"""The study of the copy task: a row for each K and δ, beside the paper's perplexity."""

import numpy as np
import pytest

from experiments.studies import adaptive

pytestmark = pytest.mark.standard


def test_adaptive(study, tmp_path, monkeypatch):
    sizes = {"memory": 2, "batch_size": 2, "state_size": 4, "epoch": 10, "test_steps": 8}
    monkeypatch.setattr(adaptive, "TASK", adaptive.TASK._replace(**sizes))
    monkeypatch.setattr(adaptive, "KS", (5, 10))
    monkeypatch.setattr(adaptive, "FIRST", 5)
    monkeypatch.setattr(adaptive, "NUM_LAGS", 8)
    monkeypatch.setattr(
        adaptive, "RULES", (adaptive.Rule(1.036, k=10), adaptive.Rule(1.0, delta=1e-9))
    )
    monkeypatch.setattr(adaptive, "EVERY", 1)
    monkeypatch.setattr(adaptive, "NUM_EPOCHS", 2)
    adaptive.epoch_of.cache_clear()
    args = "--num_seeds=2", f"--scratch={tmp_path / 'scratch'}"
    found, out = study(adaptive, *args)
    rows = found["adaptive"]["rows"]
    assert [(row["name"], row["theirs"]) for row in rows] == [("K = 10", 1.036), ("δ = 1e-09", 1.0)]
    assert [row["k"] for row in rows] == [[[10, 10]] * 2, [[5, 10]] * 2]
    assert np.shape(rows[0]["perplexity"]) == (2, 2) and "1.036" in out
    assert (tmp_path / "adaptive.png").stat().st_size > 1000
    monkeypatch.setattr(adaptive, "learn", None)
    assert study(adaptive, *args)[0]["adaptive"]["rows"] == rows
    adaptive.epoch_of.cache_clear()
