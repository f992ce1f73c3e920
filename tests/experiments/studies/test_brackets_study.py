"""The study of brackets: a row for each cell and horizon; a finished one is not run again."""

import jax
import numpy as np
import pytest

from experiments.studies import brackets
from experiments.tasks import brackets as language

pytestmark = pytest.mark.standard


def test_brackets(study, tmp_path, monkeypatch):
    task = brackets.TASK._replace(milestones=(1, 4), state_size=4, learning_rate=0.1)
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

    of_start, of_text, of_test = by_hand = [
        jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 1), i) for i in range(3)
    ]
    assert len({str(jax.random.key_data(key)) for key in by_hand}) == 3
    state = language.start(task, "vanilla", 2, of_start)
    state = jax.jit(language.make_train(task, "vanilla"))(state, of_text, 0, 4)
    evaluate = language.make_evaluate(task, "vanilla", 3, brackets.EDGES)
    seen = jax.jit(evaluate)(state, of_test)
    expected = seen.excess, seen.kind_loss / seen.total, seen.right / seen.total
    for name, value in zip(("excess", "kind_loss", "right"), expected, strict=True):
        np.testing.assert_allclose(rows[0][name][1][1], value, atol=0.001, err_msg=name)

    monkeypatch.setattr(brackets, "learn", None)
    assert study(brackets, *args)[0]["brackets"]["rows"] == rows
