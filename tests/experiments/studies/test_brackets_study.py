"""The study of brackets: a row for each cell and horizon; a finished one is not run again."""

import numpy as np
import pytest

from experiments.studies import brackets

pytestmark = pytest.mark.standard


def test_brackets(study, tmp_path, monkeypatch):
    task = brackets.TASK._replace(milestones=(1, 2), state_size=4, batch_size=2)
    monkeypatch.setattr(brackets, "TASK", task)
    monkeypatch.setattr(brackets, "CELLS", ("vanilla", "gru"))
    monkeypatch.setattr(brackets, "HORIZONS", (2,))
    monkeypatch.setattr(brackets, "EVALUATION_CHUNKS", 3)
    args = "--num_seeds=2", f"--scratch={tmp_path / 'scratch'}"
    found, out = study(brackets, *args)
    rows = found["brackets"]["rows"]
    assert [row["cell"] for row in rows] == ["vanilla", "gru"] and "gru" in out
    assert np.shape(rows[0]["excess"]) == (2, 2) and np.shape(rows[0]["right"]) == (2, 2, 5)
    assert np.shape(rows[0]["kind_loss"]) == (2, 2, 5)
    assert (tmp_path / "brackets.png").stat().st_size > 1000
    monkeypatch.setattr(brackets, "learn", None)
    assert study(brackets, *args)[0]["brackets"]["rows"] == rows
