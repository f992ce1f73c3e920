"""The study of the corrected solver: a row for each horizon, its rate chosen on other states."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import solver
from experiments.tasks import kuramoto_sivashinsky as solvers

pytestmark = pytest.mark.standard


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The study's sizes; one of its rates leads nowhere."""
    task = solvers.Task(
        length=12.0,
        num_points=12,
        finer_steps=4,
        spin_up=5,
        channels=2,
        unrolled=4,
        batch_size=2,
        num_updates=4,
    )
    monkeypatch.setattr(solver, "TASK", task)
    monkeypatch.setattr(solver, "HORIZONS", (1, 4))
    monkeypatch.setattr(solver, "SHORT", 2)
    monkeypatch.setattr(solver, "RATES", (0.03, 1e9))
    monkeypatch.setattr(solver, "NUM_STREAMS", 3)
    monkeypatch.setattr(solver, "NUM_TRAIN", 8)
    monkeypatch.setattr(solver, "NUM_TEST", 5)
    monkeypatch.setattr(solver, "NUM_TIMED", 2)


def test_a_rate_is_chosen_on_states_that_are_not_those_of_the_test(monkeypatch):
    def forecast(_, params, states):
        """The later a network, the longer its forecasts; on the test's states, the shorter."""
        num = len(jax.tree.leaves(params)[0])
        longer = 7.0 - jnp.arange(num) if states is made.test else jnp.arange(float(num))
        return solvers.Forecast(jnp.full((num, 5), longer[0]), longer)

    made = solver.all_states(solver.TASK)
    monkeypatch.setattr(solver, "forecast_of", lambda task: functools.partial(forecast, task))
    found = solver.learn(solver.Plan(1, 1), made, 1)
    assert (found["rate"], found["choice"]) == (1e9, [[0.0], [1.0]])
    assert (found["valid"], found["errors"]) == ([7.0], [[7.0] * 5])


def test_solver(study, tmp_path, monkeypatch):
    args = "--num_seeds=2", "--rounds=2", f"--scratch={tmp_path / 'scratch'}"
    found, out = study(solver, *args)
    found = found["solver"]
    rows = found["rows"]
    assert [row["name"] for row in rows] == [
        "single steps",
        "2 steps, horizon 1",
        "2 steps, full",
        "1",
        "4",
    ]
    assert "2 steps, full" in out
    assert [(row["unrolled"], row["horizon"]) for row in rows][1:3] == [(2, 1), (2, 2)]
    assert all(row["rate"] == 0.03 for row in rows)  # 1e9 leads nowhere
    assert np.shape(rows[0]["errors"]) == (2, 5) and np.shape(rows[0]["valid"]) == (2,)
    assert np.shape(rows[0]["bias"]) == np.shape(rows[0]["norm"]) == (2, 2)
    assert np.shape(rows[0]["choice"]) == (2, 2)
    assert np.shape(found["seconds"]) == (2, 2)
    assert (tmp_path / "solver.png").stat().st_size > 1000

    states, task = solver.all_states(solver.TASK), solver.TASK
    assert len({float(part.sum()) for part in states}) == 3
    as_many_losses = task._replace(unrolled=2, batch_size=4)
    key = jax.random.fold_in(jax.random.key(1), 1)
    params = jax.jit(solvers.make_train(as_many_losses, 1))(0.03, key, states.train)
    forecast = jax.jit(solvers.make_forecast(task))(params, states.test)
    gradients = jax.jit(solvers.make_gradients(task))(params, states.test[:5])
    at = np.array([0, 3])
    expected = forecast._asdict() | {"norm": gradients.norm[at], "bias": gradients.bias[at]}
    for name, value in expected.items():
        np.testing.assert_allclose(rows[1][name][1], value, rtol=2e-3, atol=1e-5, err_msg=name)
    assert len({str(row["errors"]) for row in rows}) == 5

    for name in ("learn", "before", "times"):
        monkeypatch.setattr(solver, name, None)
    assert study(solver, *args)[0]["solver"]["rows"] == rows
