"""The study of state passing: a row for each cell and way; a finished one is not run again."""

import numpy as np
import pytest
from texts import TEXTS, write

from experiments.studies import state_passing
from experiments.tasks.long_text import OWN, ZERO, Way

pytestmark = pytest.mark.standard


def test_state_passing(study, exit_of, tmp_path, monkeypatch):
    sizes = {"batch_size": 2, "state_size": 4, "embed_size": 3, "hidden_size": 3}
    task = state_passing.TASK._replace(piece=4, num_updates=2, **sizes)
    monkeypatch.setattr(state_passing, "TASK", task)
    ways = {"zero state": Way(ZERO, 4, 4), state_passing.BESIDE: Way(OWN, 8, 4)}
    monkeypatch.setattr(state_passing, "WAYS", ways)
    monkeypatch.setattr(state_passing, "LENGTHS", (2, 4, 16))
    monkeypatch.setattr(state_passing, "NEAR", 2)
    text = f"--data_dir={write(tmp_path / 'text', TEXTS)}"
    args = "--num_seeds=2", f"--scratch={tmp_path / 'scratch'}", text
    found, out = study(state_passing, *args)
    rows = found["state_passing"]["rows"]
    assert [(row["cell"], row["name"]) for row in rows] == [
        (cell, name) for cell in ("lru", "gru") for name in ways
    ]
    assert all(np.shape(row["loss"]) == np.shape(row["size"]) == (2, 3) for row in rows)
    assert found["state_passing"]["num_asked"] == 64 and "own state, seams cut" in out
    assert (tmp_path / "state_passing.png").stat().st_size > 1000
    monkeypatch.setattr(state_passing, "learn", None)
    assert study(state_passing, *args)[0]["state_passing"]["rows"] == rows
    monkeypatch.setattr(state_passing, "LENGTHS", (2, 64))
    said = exit_of(state_passing, *args)
    assert said.startswith("error: the test text has 120 characters, and 129 are needed;")
