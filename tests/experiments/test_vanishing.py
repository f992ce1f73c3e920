"""How fast gradients vanish, at tiny sizes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import vanishing
from experiments.lm import models
from experiments.text import data
from experiments.text.sequences import sequences
from tbptt_jax import truncated_scan

pytestmark = pytest.mark.standard


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
