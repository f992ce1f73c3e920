"""The studies run on tiny sizes, and write numbers and a chart."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from texts import TEXTS, write

from experiments import (
    dependency,
    diagram,
    forgetting,
    gradcheck,
    pitfalls,
    timing,
    vanishing,
    williams_peng,
)
from experiments.lm import models
from experiments.lm.settings import Settings
from experiments.lm.styles import schedule
from experiments.text import data
from experiments.text.sequences import sequences
from tbptt_jax import truncated_scan

pytestmark = pytest.mark.standard


def test_pitfalls(study, tmp_path, monkeypatch):
    monkeypatch.setattr(pitfalls, "HORIZONS", (2, 3))
    found, out = study(pitfalls, "--num_seeds=3")
    rows = found["pitfalls"]["relative_error"]
    assert [row["horizon"] for row in rows] == [2] * 4 + [3] * 4
    assert all(row["quartiles"][1] < 1e-4 for row in rows[:4])
    assert found["pitfalls"]["command"].startswith("python -m experiments.pitfalls --out=")
    assert "jax" in found["pitfalls"]["versions"] and "horizon  3" in out
    assert (tmp_path / "pitfalls.png").stat().st_size > 1000


def test_dependency(study, exit_of, tmp_path, monkeypatch):
    monkeypatch.setattr(dependency, "HORIZONS", (2, 1))
    monkeypatch.setattr(dependency, "TASK", dependency.TASK._replace(milestones=(1, 2)))
    scratch = f"--scratch={tmp_path / 'scratch'}"
    args = "--num_seeds=2", "--horizons=1,2", scratch
    found, _ = study(dependency, *args)
    rows = found["dependency"]["learnt"]
    assert [(row["style"], row["horizon"], row["stride"]) for row in rows] == [
        ("true", 1, 1),
        ("true", 2, 1),
        ("semi", 1, 1),
        ("semi", 2, 1),
        ("epochwise", 1, 1),
        ("epochwise", 2, 2),
    ]
    assert rows[0]["share"] == rows[2]["share"]
    assert np.shape(rows[0]["share"]) == (32, 2, 2)
    assert (tmp_path / "dependency.png").stat().st_size > 1000

    def fail(*_):
        raise AssertionError("a finished seed ran again")

    monkeypatch.setattr(dependency, "make_of_seed", lambda *_: fail)
    again, _ = study(dependency, *args)
    assert again["dependency"]["learnt"] == rows
    one, _ = study(dependency, "--num_seeds=1", "--horizons=2", scratch)
    first = np.array(rows[1]["share"])[:, :1]
    assert one["dependency"]["learnt"][0]["share"] == first.tolist()
    assert exit_of(dependency, "--horizons=2,3") == "error: --horizons=3: choose from (2, 1)."


def test_forgetting(study, tmp_path, monkeypatch):
    names = ("true", "input, horizon 9", "input and bias frozen")
    schedules = {name: forgetting.SCHEDULES[name] for name in names}
    monkeypatch.setattr(forgetting, "SCHEDULES", schedules)
    monkeypatch.setattr(forgetting, "TASK", forgetting.TASK._replace(milestones=(1, 2)))
    args = "--num_seeds=2", f"--scratch={tmp_path / 'scratch'}"
    found, out = study(forgetting, *args)
    true, longer, frozen = found["forgetting"]["rows"]
    assert np.shape(true["share"]) == np.shape(true["input"]) == (2, 2)
    assert frozen["input"] == [[size] * 2 for size, _ in frozen["input"]]
    assert true["input"] != frozen["input"] and longer["passes"][1]["leaves"] == ["input"]
    assert (tmp_path / "forgetting.png").stat().st_size > 1000 and "input and bias frozen" in out
    monkeypatch.setattr(forgetting, "learn", None)
    assert study(forgetting, *args)[0]["forgetting"]["rows"] == [true, longer, frozen]


def test_the_inputs_signal_is_what_tells_symbols_apart():
    same = jnp.full((1, 2, 3), 0.7)
    signs = jnp.array([[[1.0], [-1.0]]])
    for rows, size in ((same, 0.0), (same + 0.2 * signs, 0.2)):
        np.testing.assert_allclose(forgetting.signal({"input": rows}), [size], atol=1e-6)


def test_williams_peng_on_the_delay(study, tmp_path, monkeypatch):
    monkeypatch.setattr(williams_peng, "TASK", williams_peng.TASK._replace(milestones=(1, 3)))
    found, out = study(williams_peng, "--num_seeds=4")
    rows = found["williams_peng_delay"]["rows"]
    h = williams_peng.TASK.chunk
    assert [(row["horizon"], row["stride"]) for row in rows] == [
        (h, 1),
        (2 * h, h),
        (h, h),
        (2 * h, 1),
    ]
    assert all(row["successes"] == [0, 0] and len(row["share"]) == 4 for row in rows)
    assert (
        "after    3 updates   0.0% of 4 seeds" in out
        and (tmp_path / "williams_peng.png").stat().st_size > 1000
    )


def test_williams_peng_on_text(study, tmp_path, monkeypatch):
    """Finished runs are read, not run again."""
    write(tmp_path / "text", TEXTS)
    small = lambda *args, **kwargs: Settings(*args, **kwargs)._replace(batch_size=4)
    monkeypatch.setattr(williams_peng, "Settings", small)
    monkeypatch.setattr(williams_peng, "HORIZONS", (2,))
    monkeypatch.setattr(williams_peng, "NUM_EPOCHS", 1)
    args = ["--task=ptb", "--num_seeds=2", f"--data_dir={tmp_path / 'text'}"]
    args += [f"--scratch={tmp_path / 'scratch'}"]
    first, out = study(williams_peng, *args)
    rows = first["williams_peng_ptb"]["rows"]
    assert [(row["h"], row["horizon"], row["stride"]) for row in rows] == [
        (2, 2, 1),
        (2, 4, 2),
        (2, 2, 2),
    ]
    assert out.count("epoch  1") == 6
    assert len(list((tmp_path / "williams_peng").glob("*.json"))) == 6
    again, out = study(williams_peng, *args)
    assert out.count("epoch  1") == 0
    assert again["williams_peng_ptb"]["rows"] == rows


def test_folder_that_cannot_be_ends_a_study_before_it_works(exit_of, monkeypatch):
    monkeypatch.setattr(pitfalls, "errors_of_seeds", None)
    said = exit_of(pitfalls, out="/dev/null")
    assert said == "error: --out=/dev/null cannot be a folder: File exists."


def test_flag_of_another_main_is_refused(exit_of):
    said = exit_of(pitfalls, "--learning_rate=1")
    assert said == "error: --learning_rate is not a flag of this command; see --help."


def test_vanishing(study, short_text, tmp_path, monkeypatch):
    """The factor of a tanh RNN is that of random matrices of its size."""
    monkeypatch.setattr(vanishing, "STATES", (4, 64))
    monkeypatch.setattr(vanishing, "COMPARED", (4,))
    monkeypatch.setattr(vanishing, "BATCH", 4)
    monkeypatch.setattr(vanishing, "NUM_EPOCHS", 1)
    found, out = study(vanishing, "--num_seeds=8", short_text)
    rows = found["vanishing"]["rows"]
    assert [(row["cell"], row["state_size"], row["epochs"]) for row in rows] == [
        ("vanilla", 4, 0),
        ("vanilla", 64, 0),
        ("vanilla", 4, 1),
        ("gru", 4, 0),
        ("gru", 4, 1),
        ("lstm", 4, 0),
        ("lstm", 4, 1),
    ]
    for row in rows[:2]:
        assert abs(np.median(row["factor"]) / row["expected"] - 1.0) < 0.2
    assert "the article: factor 3.07" in out
    assert (tmp_path / "vanishing.png").stat().st_size > 1000


def test_vanishing_is_of_the_kernels_and_of_late_words(monkeypatch):
    """Each part is what one more step of horizon adds to the gradient, of the loss at the end."""
    monkeypatch.setattr(vanishing, "HORIZON", 3)
    model = models.LanguageModel(7, 5, 4)
    params = models.init_params(model, jax.random.key(0))
    tokens, targets = jax.random.randint(jax.random.key(1), (2, 5, 3), 0, 7)
    inputs, carry = models.Inputs(tokens), models.init_carry(model, 3)

    def loss(params, horizon):
        step = functools.partial(models.step, model, params)
        _, ys = truncated_scan(step, carry, inputs, horizon=horizon)
        logits = ys[2:] @ params["readout"]["kernel"] + params["readout"]["bias"]
        one_hot = jax.nn.one_hot(targets[2:], 7)
        return -jnp.sum(one_hot * jax.nn.log_softmax(logits))

    grads = [jax.grad(loss)(params, horizon)["recurrence"] for horizon in (1, 2, 3)]
    found = vanishing.make_norms(model)(params, tokens, targets)
    flat = [
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(each) if leaf.ndim == 2])
        for each in grads
    ]
    parts = np.diff([np.zeros_like(flat[0]), *flat], axis=0)
    np.testing.assert_allclose(found, np.sum(np.abs(parts), axis=1), rtol=1e-4)


def test_vanishing_is_measured_after_training(short_text, monkeypatch):
    monkeypatch.setattr(vanishing, "NUM_EPOCHS", 1)
    corpus = data.read_corpus("ptb", short_text.removeprefix("--data_dir="))
    first = sequences(corpus.train, 4, 40, "train").read(0, 1)
    batch = first.inputs[0], first.targets[0]
    args = models.LanguageModel(len(corpus.vocabulary), 50, 4), batch, corpus
    trained = vanishing.trained(*args)
    monkeypatch.setattr(vanishing.training, "train", lambda *_: None)
    assert trained["l1"] != vanishing.trained(*args)["l1"]


def test_diagram(study, exit_of, tmp_path):
    found, out = study(diagram)
    drawn = found["diagram"]["drawn"]
    assert [(row["style"], row["horizon"], row["stride"], row["seq_len"]) for row in drawn] == [
        ("true", 3, 1, 6),
        ("semi", 3, 2, 6),
        ("epochwise", 3, 3, 6),
    ]
    band = [[t - s if 0 <= t - s < 3 else -1 for s in range(6)] for t in range(6)]
    blocks = [[t - s if s <= t and t // 3 == s // 3 else -1 for s in range(6)] for t in range(6)]
    assert drawn[0]["lag"] == band and drawn[2]["lag"] == blocks
    true, epochwise = (row["reach"] for row in found["diagram"]["counted"])
    assert true == {str(k): 1 for k in range(1, 7)} | {"7": 43}
    assert epochwise == {str(k): 7 for k in range(1, 8)}
    assert "1, 1, 1, 1, 1, 1, 43 reach 1, 2, 3, 4, 5, 6, 7 steps back" in out
    assert (tmp_path / "diagram.png").stat().st_size > 1000
    assert (tmp_path / "diagram.svg").read_text().startswith("<?xml")
    assert "--bptt=auto is for training" in exit_of(diagram, "--bptt=auto")
    found, _ = study(diagram, "--bptt=4", "--stride=3", "--seq_len=20")
    assert [row["stride"] for row in found["diagram"]["drawn"]] == [1, 3, 4]


def test_diagram_of_what_cannot_be_is_refused(exit_of, tmp_path):
    said = "error: --bptt=7 is longer than --seq_len=3: no error reaches that far back."
    assert exit_of(diagram, "--bptt=7", "--seq_len=3") == said
    for stride in (1, 4):
        said = exit_of(diagram, "--bptt=4", f"--stride={stride}")
        assert said.startswith(f"error: --stride={stride} is not between 1 and --bptt=4;")
    assert not (tmp_path / "diagram.json").exists()


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
