"""The study of state passing: a row for each cell and way; a finished one is not run again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from texts import TEXTS, write

from experiments.studies import state_passing
from experiments.tasks import long_text
from experiments.tasks.long_text import OWN, ZERO, Way
from experiments.text import data, tokenizer

pytestmark = pytest.mark.standard


def test_state_passing(study, exit_of, tmp_path, monkeypatch):
    sizes = {"batch_size": 2, "state_size": 4, "embed_size": 3, "hidden_size": 3}
    task = state_passing.TASK._replace(piece=4, num_updates=4, learning_rate=0.1, **sizes)
    monkeypatch.setattr(state_passing, "TASK", task)
    ways = {"zero state": Way(ZERO, 4, 4), state_passing.BESIDE: Way(OWN, 8, 4)}
    monkeypatch.setattr(state_passing, "WAYS", ways)
    monkeypatch.setattr(state_passing, "LENGTHS", (2, 4, 16))
    monkeypatch.setattr(state_passing, "NEAR", 2)
    folder = write(tmp_path / "text", TEXTS)
    text = f"--data_dir={folder}"
    args = "--num_seeds=2", f"--scratch={tmp_path / 'scratch'}", text
    found, out = study(state_passing, *args)
    rows = found["state_passing"]["rows"]
    assert [(row["cell"], row["name"]) for row in rows] == [
        (cell, name) for cell in ("lru", "gru") for name in ways
    ]
    assert all(np.shape(row["loss"]) == np.shape(row["size"]) == (2, 3) for row in rows)
    assert found["state_passing"]["num_asked"] == 64 and "own state, seams cut" in out
    assert (tmp_path / "state_passing.png").stat().st_size > 1000

    corpus = data.read_corpus("auto", folder, tokenizer.settings("char", None, 1))
    model = long_text.make_model(task, "gru", len(corpus.vocabulary))
    key = jax.random.fold_in(jax.random.key(0), 1)
    state = long_text.start(task, model, Way(OWN, 8, 4), key)
    train = jax.jit(long_text.make_train(task, model, Way(OWN, 8, 4)))
    params = train(state, jnp.asarray(corpus.train[:]), key, 0, 4).params
    windows = long_text.windows(jnp.asarray(corpus.test[:]), 4, 16, 64)
    loss, size = jax.jit(long_text.make_evaluate(model))(params, windows)
    np.testing.assert_allclose(rows[-1]["loss"][1][1], loss, atol=2e-4)
    np.testing.assert_allclose(rows[-1]["size"][1][1], size, atol=0.001)

    monkeypatch.setattr(state_passing, "learn", None)
    assert study(state_passing, *args)[0]["state_passing"]["rows"] == rows
    monkeypatch.setattr(state_passing, "LENGTHS", (2, 64))
    said = exit_of(state_passing, *args)
    assert said.startswith("error: the test text has 120 characters, and 129 are needed;")
