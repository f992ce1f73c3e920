"""Studies on tiny sizes: they write numbers and a chart."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from texts import TEXTS, write

from experiments import dependency, forgetting, pitfalls, williams_peng
from experiments.lm.settings import Settings
from experiments.tasks import delay

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
    task = dependency.TASK._replace(milestones=(1, 2), learning_rate=0.1)
    monkeypatch.setattr(dependency, "TASK", task)
    monkeypatch.setattr(delay, "EVALUATION_CHUNKS", 2)
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
    shares = np.array([row["share"] for row in rows])
    assert shares.shape == (6, 32, 2, 2)
    np.testing.assert_array_equal(shares[2:5], shares[[0, 1, 0]])  # stride 1
    assert np.abs(shares[5] - shares[1]).max() > 0.005
    learn = jax.jit(delay.make_learn(task, delay.Pass(2, 2)))
    for seed, d in ((0, 1), (1, 2)):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(0), seed), 32)
        expected = learn(d, keys[d - 1])
        np.testing.assert_allclose(shares[5, d - 1, seed], expected, atol=0.001)
    assert (tmp_path / "dependency.png").stat().st_size > 1000

    def fail(*_):
        raise AssertionError("a finished seed ran again")

    monkeypatch.setattr(dependency, "make_of_seed", lambda *_: fail)
    again, _ = study(dependency, *args)
    assert again["dependency"]["learnt"] == rows
    one, _ = study(dependency, "--num_seeds=1", "--horizons=2", scratch)
    first = np.array(rows[1]["share"])[:, :1]
    shares = {(row["style"], row["horizon"]): row["share"] for row in one["dependency"]["learnt"]}
    assert shares["true", 2] == first.tolist()
    assert shares.keys() == {(row["style"], row["horizon"]) for row in rows}  # the finished too
    assert exit_of(dependency, "--horizons=2,3") == "error: --horizons=3: choose from 2, 1."


def test_dependency_of_several_seeds_in_one_program(study, tmp_path, monkeypatch):
    """Of three seeds two learn together; where one is kept, those that follow it do."""
    monkeypatch.setattr(dependency, "HORIZONS", (2,))
    task = dependency.TASK._replace(milestones=(1, 2), learning_rate=0.1)
    monkeypatch.setattr(dependency, "TASK", task)
    monkeypatch.setattr(delay, "EVALUATION_CHUNKS", 2)
    args = "--num_seeds=3", "--horizons=2"
    alone, _ = study(dependency, *args, f"--scratch={tmp_path / 'alone'}")
    expected = alone["dependency"]["learnt"]
    rounded, together = dependency._rounded, []
    count = lambda shares: together.append(len(shares)) or rounded(shares)
    monkeypatch.setattr(dependency, "_rounded", count)
    for kept in ((), ("2-1-seed-0.json",)):
        scratch = tmp_path / f"together-{len(kept)}"
        (scratch / "dependency").mkdir(parents=True)
        for name in kept:
            shutil.copy(tmp_path / "alone" / "dependency" / name, scratch / "dependency")
        found, _ = study(dependency, *args, "--seeds_at_once=2", f"--scratch={scratch}")
        for row, same in zip(found["dependency"]["learnt"], expected, strict=True):
            np.testing.assert_allclose(row["share"], same["share"], atol=0.01)
    assert together == [2] * 7  # two calls for each of two strides, one where a seed is kept


def test_forgetting(study, tmp_path, monkeypatch):
    names = ("true", "recurrent, horizon 9", "input and bias frozen")
    schedules = {name: forgetting.SCHEDULES[name] for name in names}
    monkeypatch.setattr(forgetting, "SCHEDULES", schedules)
    task = forgetting.TASK._replace(milestones=(1, 4), learning_rate=0.1)
    monkeypatch.setattr(forgetting, "TASK", task)
    args = "--num_seeds=2", f"--scratch={tmp_path / 'scratch'}"
    found, out = study(forgetting, *args)
    true, longer, frozen = found["forgetting"]["rows"]
    assert np.shape(true["share"]) == np.shape(true["input"]) == (2, 2)
    assert frozen["input"] == [[size] * 2 for size, _ in frozen["input"]]
    assert true["input"] != frozen["input"] and longer["passes"][1]["leaves"] == ["recurrent"]
    rest = ("input", "bias", "readout", "readout_bias")
    passes = delay.Pass(8, 1, rest), delay.Pass(9, 1, ("recurrent",))
    key = jax.random.fold_in(jax.random.key(0), 1)
    expected = jax.jit(delay.make_learn(task, *passes))(8, key)
    np.testing.assert_allclose(longer["share"][1], expected, atol=0.001)
    assert np.abs(np.subtract(longer["share"], true["share"])).max() > 0.005
    assert (tmp_path / "forgetting.png").stat().st_size > 1000 and "input and bias frozen" in out
    monkeypatch.setattr(forgetting, "learn", None)
    assert study(forgetting, *args)[0]["forgetting"]["rows"] == [true, longer, frozen]


@pytest.mark.parametrize(
    "name, usual, others",
    [
        ("true", (8, 1), {}),
        ("input, horizon 9", (8, 1), {"input": (9, 1)}),
        ("recurrent, horizon 9", (8, 1), {"recurrent": (9, 1)}),
        ("input and bias frozen", (8, 1), {"input": None, "bias": None}),
        ("true, horizon 9", (9, 1), {}),
        ("semi", (8, 4), {}),
        ("epochwise", (8, 8), {}),
        ("semi, horizon 16", (16, 8), {}),
    ],
)
def test_forgetting_gives_each_parameter_the_horizon_of_its_schedule(name, usual, others):
    taught = [
        (leaf, (each.horizon, each.stride))
        for each in forgetting.SCHEDULES[name]
        for leaf in each.leaves
    ]
    expected = dict.fromkeys(delay.LEAVES, usual) | others
    expected = {leaf: schedule for leaf, schedule in expected.items() if schedule}
    assert len(taught) == len(expected) and dict(taught) == expected


def test_the_inputs_signal_is_what_tells_symbols_apart():
    same = jnp.full((1, 2, 3), 0.7)
    signs = jnp.array([[[1.0], [-1.0]]])
    for rows, size in ((same, 0.0), (same + 0.2 * signs, 0.2)):
        np.testing.assert_allclose(forgetting.signal({"input": rows}), [size], atol=1e-6)


def test_williams_peng_on_the_delay(study, tmp_path, monkeypatch):
    task = williams_peng.TASK._replace(milestones=(1, 3), learning_rate=0.1)
    monkeypatch.setattr(williams_peng, "TASK", task)
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
    learn = jax.jit(delay.make_learn(task, delay.Pass(16, 8)))
    expected = learn(7, jax.random.split(jax.random.key(1), 4)[2])
    shares = np.array([row["share"] for row in rows])
    np.testing.assert_allclose(shares[1, 2], expected, atol=0.001)
    assert np.abs(shares[[0, 2, 3]] - shares[1]).max(axis=(1, 2)).min() > 0.005
    monkeypatch.setattr(williams_peng, "learn_delay", None)
    assert study(williams_peng, "--num_seeds=4")[0]["williams_peng_delay"]["rows"] == rows


def test_williams_peng_seed_succeeds_where_it_learns_nine_tenths(tmp_path, monkeypatch):
    shares = jnp.array([0.6, 0.89, 0.91, 1.0])  # at the milestones
    monkeypatch.setattr(williams_peng.delay, "make_learn", lambda *_: lambda delay, key: shares)
    for row in williams_peng.run_delay(tmp_path, 3)["rows"]:
        assert row["successes"] == [0, 0, 3, 3]
        z_squared = 1.959964**2
        none, all_of_them = [0.0, z_squared / (3 + z_squared)], [3 / (3 + z_squared), 1.0]
        expected = [none] * 2 + [all_of_them] * 2  # Wilson's
        np.testing.assert_allclose(row["intervals"], expected, atol=1e-4)


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
    assert said == "error: --out=/dev/null cannot be used: File exists; name another folder."


def test_flag_of_another_main_is_refused(exit_of):
    said = exit_of(pitfalls, "--learning_rate=1")
    assert said == "error: --learning_rate is not a flag of this command; see --help."
