"""The study of unbiased truncation: a row for each method; what must come is said beforehand."""

import jax
import numpy as np
import pytest

from experiments.studies import unbiased
from experiments.tasks import balancing

pytestmark = pytest.mark.standard


def test_unbiased(study, tmp_path, monkeypatch):
    task = balancing.Task(num_units=5, num_positive=2, chunk=4, mean_reach=4, learning_rate=0.05)
    monkeypatch.setattr(unbiased, "TASK", task)
    methods = {"true, 2": balancing.Method(2), "epochwise, 40": balancing.Method(40, 40)}
    methods["random horizon"] = balancing.Method(40, random=balancing.HORIZON)
    monkeypatch.setattr(unbiased, "METHODS", methods)
    monkeypatch.setattr(unbiased, "NUM_UPDATES", 20)
    monkeypatch.setattr(unbiased, "NUM_RECORDS", 2)
    args = "--num_seeds=2", f"--scratch={tmp_path / 'scratch'}"
    found, out = study(unbiased, *args)
    rows = found["unbiased"]["rows"]
    assert [row["name"] for row in rows] == list(methods)
    assert np.shape(rows[0]["distance"]) == (2, 2)
    for row in rows[:2]:
        assert all((last > 1.0) == (row["gain"] > 0.0) for _, last in row["distance"])
    assert "epochwise, 40" in out
    assert (tmp_path / "unbiased.png").stat().st_size > 1000

    method = methods["random horizon"]
    for_start, for_draws = jax.random.split(jax.random.split(jax.random.key(0), 2)[1])
    start = jax.random.uniform(for_start, minval=0.1, maxval=1.0)
    expected = jax.jit(balancing.make_learn(task, method, 20, 2))(start, for_draws)
    np.testing.assert_allclose(rows[2]["distance"][1], expected, rtol=1e-3)

    monkeypatch.setattr(unbiased, "learn", None)
    assert study(unbiased, *args)[0]["unbiased"]["rows"] == rows
