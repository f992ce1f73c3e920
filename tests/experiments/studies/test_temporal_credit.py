"""The study of horizon 1: a row for each cell, at the better of its rates."""

import jax
import numpy as np
import optax
import pytest

from experiments.record.errors import UserError
from experiments.studies import temporal_credit
from experiments.tasks import online

pytestmark = pytest.mark.standard


def test_temporal_credit(study, tmp_path, monkeypatch):
    tasks = {"bits": online.Task(1, state_size=3, num_steps=8, num_segments=4)}
    monkeypatch.setattr(temporal_credit, "TASKS", tasks)
    monkeypatch.setattr(temporal_credit, "HORIZONS", ("frozen", 1, "full"))
    monkeypatch.setattr(temporal_credit, "RATES", (0.03, 0.1))
    found, out = study(temporal_credit, "--num_seeds=2")
    again, _ = study(temporal_credit, "--num_seeds=2")
    assert again == found
    found = found["temporal_credit"]
    assert [row["horizon"] for row in found["rows"]] == ["frozen", 1, "full"] * 2
    assert len({tuple(row["last"]) for row in found["rows"]}) == 6
    assert all(np.shape(row["last"]) == (2,) for row in found["rows"])
    assert all(np.shape(row["median"]) == (4,) for row in found["rows"])
    assert "bits      rmsprop       full" in out
    for row, optimizer in ((found["rows"][1], optax.adam), (found["rows"][4], optax.rmsprop)):
        make = lambda rate, optimizer=optimizer: optimizer(rate)
        learn = jax.jit(lambda rate, key: online.learn(tasks["bits"], 1, make(rate), key)[1])
        keys = jax.random.split(jax.random.key(0), 2)
        last = [[learn(rate, key)[-1] for key in keys] for rate in (0.03, 0.1)]
        assert row["optimizer"] == optimizer.__name__
        np.testing.assert_allclose(row["last_of_rates"], np.median(last, axis=1), rtol=1e-3)
    assert (tmp_path / "temporal_credit.png").stat().st_size > 1000


def test_a_stopped_run_leaves_no_result_and_its_cells_are_not_run_again(
    study, exit_of, tmp_path, monkeypatch
):
    monkeypatch.setattr(temporal_credit, "TASKS", {"bits": online.Task(1, 3, 8, 4)})
    monkeypatch.setattr(temporal_credit, "HORIZONS", (1, "full"))
    monkeypatch.setattr(temporal_credit, "OPTIMIZERS", {"rmsprop": None})
    monkeypatch.setattr(temporal_credit.temporal_credit_chart, "draw", lambda *_: None)
    measured = []

    def losses(task, horizon, optimizer, num_seeds):
        measured.append(horizon)
        if measured == [1, "full"]:
            raise UserError("stopped")
        return np.full((len(temporal_credit.RATES), num_seeds, task.num_segments), 0.5)

    monkeypatch.setattr(temporal_credit, "losses", losses)
    assert exit_of(temporal_credit, "--num_seeds=2") == "error: stopped"
    assert not list(tmp_path.glob("*.json"))
    found, _ = study(temporal_credit, "--num_seeds=2")
    assert measured == [1, "full", "full"]
    assert [row["horizon"] for row in found["temporal_credit"]["rows"]] == [1, "full"]


def test_better_rate_has_the_lower_median_at_the_end():
    found = np.stack([np.full((3, 20), 0.5), np.full((3, 20), 0.4)])
    found[1, :, -2:] = [[0.6], [0.7], [0.0]]
    row = temporal_credit.row("bits", 1, "adam", found)
    assert row["rate"] == temporal_credit.RATES[0] and row["last_of_rates"] == [0.5, 0.6]


def test_a_rate_that_diverges_is_the_worst_and_all_are_an_error():
    found = np.full((2, 3, 20), 0.5)
    found[0, 1, 3] = np.nan
    row = temporal_credit.row("bits", 1, "adam", found)
    assert row["rate"] == temporal_credit.RATES[1] and row["last"] == [0.5] * 3
    assert row["last_of_rates"][0] > 3e38 and row["last_of_rates"][1] == 0.5
    with pytest.raises(UserError, match="bits, adam, horizon 1: no rate has finite losses"):
        temporal_credit.row("bits", 1, "adam", found * np.inf)
