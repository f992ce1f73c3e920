"""The study of the copy task: a row for each K and δ, beside the paper's perplexity."""

import jax
import numpy as np
import pytest

from experiments.lm import models
from experiments.studies import adaptive
from experiments.tasks import copying_lstm

pytestmark = pytest.mark.standard


def test_adaptive(study, tmp_path, monkeypatch):
    sizes = {"memory": 2, "batch_size": 2, "state_size": 4, "epoch": 10, "test_steps": 8}
    task = adaptive.TASK._replace(**sizes)
    monkeypatch.setattr(adaptive, "TASK", task)
    monkeypatch.setattr(adaptive, "KS", (5, 10))
    monkeypatch.setattr(adaptive, "FIRST", 5)
    monkeypatch.setattr(adaptive, "NUM_LAGS", 8)
    rules = adaptive.Rule(1.036, k=10), *(adaptive.Rule(1.0, delta=delta) for delta in (1e-9, 1e3))
    monkeypatch.setattr(adaptive, "RULES", rules)
    monkeypatch.setattr(adaptive, "EVERY", 1)
    monkeypatch.setattr(adaptive, "NUM_EPOCHS", 2)
    adaptive.epoch_of.cache_clear()
    args = "--num_seeds=2", f"--scratch={tmp_path / 'scratch'}"
    found, out = study(adaptive, *args)
    rows = found["adaptive"]["rows"]
    assert [(row["name"], row["theirs"]) for row in rows] == [
        ("K = 10", 1.036),
        ("δ = 1e-09", 1.0),
        ("δ = 1000.0", 1.0),
    ]
    assert [row["k"] for row in rows] == [[[10, 10]] * 2, [[5, 10]] * 2, [[5, 5]] * 2]
    assert np.shape(rows[0]["perplexity"]) == (2, 2) and "1.036" in out
    assert (tmp_path / "adaptive.png").stat().st_size > 1000

    epoch, test = jax.jit(copying_lstm.make_epoch(task, 10)), copying_lstm.make_test(task)
    key = jax.random.key(1)
    params, of_test = models.init_params(copying_lstm.make_model(task), key), adaptive.OF_TEST
    assert of_test not in range(adaptive.NUM_EPOCHS)
    for i in range(2):
        params = epoch(params, jax.random.fold_in(key, i))
    expected = jax.jit(test)(params, jax.random.fold_in(key, of_test))
    np.testing.assert_allclose(rows[0]["perplexity"][1][1], expected, rtol=3e-4)

    monkeypatch.setattr(adaptive, "learn", None)
    assert study(adaptive, *args)[0]["adaptive"]["rows"] == rows
    adaptive.epoch_of.cache_clear()
