"""The article's gradient check and timing, at tiny sizes."""

import math

import numpy as np
import pytest

from experiments import gradcheck, timing
from experiments.lm.styles import schedule

pytestmark = pytest.mark.standard


@pytest.fixture(scope="module")
def kept_gradients():
    """`gradcheck.gradients` of the one model and text that these tests have, each taken once."""
    kept, take = {}, gradcheck.gradients

    def gradients(model, batch, *path):
        if path not in kept:
            kept[path] = take(model, batch, *path)
        return dict(kept[path])

    return gradients


@pytest.fixture
def short_gradcheck(monkeypatch, kept_gradients):
    monkeypatch.setattr(gradcheck, "gradients", kept_gradients)
    monkeypatch.setattr(gradcheck, "NUM_STEPS", 2)
    monkeypatch.setattr(gradcheck, "BATCH", 3)
    monkeypatch.setattr(gradcheck, "TRUE", schedule("true", 2, seq_len=2))
    monkeypatch.setattr(gradcheck, "EPOCHWISE", schedule("epochwise", 2))


def test_gradcheck(study, short_gradcheck, short_text):
    found, out = study(gradcheck, short_text)
    for dtype in ("float32", "float64"):
        rows = found["gradcheck"][dtype]["all"]
        assert [(row["horizon"], row["stride"]) for row in rows] == [(1, 1), (2, 1), (2, 2)]
    assert "largest error in float64" in out


@pytest.mark.parametrize("fault", [-1e-11, math.nan])
@pytest.mark.parametrize(
    ("backward", "style", "horizon"),
    [("sweeps", "semi", 1), ("windows", "semi", 1), ("sweeps", "true", 2), ("windows", "true", 2)],
)
def test_gradcheck_fails_where_a_gradient_is_off(
    exit_of, short_gradcheck, short_text, tmp_path, monkeypatch, backward, style, horizon, fault
):
    """In one entry of one array of one path, of the article's test or of that of all schedules."""
    real = gradcheck.gradients

    def off(model, batch, plan, path, dtype):
        grads = real(model, batch, plan, path, dtype)
        if (path, plan.style, plan.horizon, dtype) == (backward, style, horizon, "float64"):
            *_, last = grads
            place = np.unravel_index(np.argmax(np.abs(grads[last])), grads[last].shape)
            grads[last] = grads[last].at[place].add(fault * np.abs(grads[last][place]))
        return grads

    monkeypatch.setattr(gradcheck, "gradients", off)
    assert exit_of(gradcheck, short_text) == "FAILED in float64."
    assert not (tmp_path / "gradcheck.json").exists()


def test_timing(study, short_text, tmp_path):
    found, out = study(timing, "--processes=2", "--rounds=1", short_text)
    rows = found["timing"]["rows"]
    assert [row["name"] for row in rows] == list(timing.CALLS)
    assert rows[0]["ratio"] == [1.0, 1.0, 1.0] and len(rows[1]["milliseconds"]) == 2
    for row in rows[1:]:
        ratios = np.divide(row["milliseconds"], rows[0]["milliseconds"])
        assert math.isclose(row["ratio"][1], np.mean(ratios), rel_tol=1e-2)
    assert rows[2]["ratio"][1] > 1.5 * rows[1]["ratio"][1]  # the definition
    assert "the article's true style  2.16" in out
    assert (tmp_path / "timing.png").stat().st_size > 1000
