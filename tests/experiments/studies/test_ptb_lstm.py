"""The study of TensorFlow's LSTM: its settings are TensorFlow's, its runs go into one table."""

import math

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.lm import models, optimizers
from experiments.studies import ptb_lstm

pytestmark = pytest.mark.standard


def test_mean_loss_at_rate_20_and_norm_a_quarter_is_the_summed_loss_at_rate_1_and_norm_5():
    ours = optimizers.make(ptb_lstm.settings("true", 0), 13)
    theirs = optax.chain(optax.clip_by_global_norm(5.0), optax.sgd(1.0))
    params = {"w": jnp.zeros(2)}
    for summed in ([1.0, 2.0], [30.0, -40.0]):
        grads = {"w": jnp.array(summed)}
        mean = {"w": grads["w"] / ptb_lstm.SEQ_LEN}
        update, _ = ours.update(mean, ours.init(params), params)
        expected, _ = theirs.update(grads, theirs.init(params), params)
        np.testing.assert_allclose(update["w"], expected["w"], rtol=1e-6)


def test_kernels_are_uniform_up_to_the_scale():
    model = models.LanguageModel(50, 8, 8, "lstm", 2, init_scale=0.1)
    params = models.init_params(model, models.jax.random.key(0))
    kernels = [leaf for leaf in models.jax.tree.leaves(params) if leaf.ndim == 2]
    assert len(kernels) == 2 + 2 * 8
    for kernel in kernels:
        assert 0.08 < jnp.abs(kernel).max() <= 0.1


def test_a_row_for_each_style_and_a_run_for_each_seed(
    study, exit_of, short_text, tmp_path, monkeypatch
):
    monkeypatch.setattr(ptb_lstm, "SIZE", 3)
    monkeypatch.setattr(ptb_lstm, "NUM_EPOCHS", 2)
    monkeypatch.setattr(ptb_lstm, "LAYERS", 1)
    args = "--num_seeds=2", short_text, f"--scratch={tmp_path / 'scratch'}"
    found, out = study(ptb_lstm, *args)
    found = found["ptb_lstm"]
    assert found["command"].startswith("python -m experiments.studies.ptb_lstm --out=")
    rows = {row["style"]: row for row in found["rows"]}
    strides = {style: (row["horizon"], row["stride"], row["seams"]) for style, row in rows.items()}
    assert strides == {
        "epochwise": (20, 20, "cut"),
        "semi": (20, 10, "exact"),
        "true": (20, 1, "exact"),
    }
    for row in rows.values():
        assert row["seeds"] == [0, 1] and np.shape(row["epochs"]) == (2, 2)
        assert row["valid"] == [min(epochs) for epochs in row["epochs"]]
        assert all(math.isfinite(perplexity) for perplexity in row["test"])
    assert rows["true"]["epochs"] != rows["semi"]["epochs"] != rows["epochwise"]["epochs"]
    last, best = np.median(rows["true"]["epochs"], 0)[-1], np.median(rows["true"]["valid"])
    assert f"{'true':18s}  {2:5d}  {last:22.2f}  {best:6.2f}" in out
    assert (tmp_path / "ptb_lstm.png").stat().st_size > 1000
    assert len(list((tmp_path / "ptb_lstm").glob("*.json"))) == 6

    (tmp_path / "ptb_lstm" / "semi-seed-1.json").unlink()
    assert exit_of(ptb_lstm, "--styles=true,all").startswith("error: --styles=all: choose from ")
    again, _ = study(ptb_lstm, "--styles=true", *args)
    of_style = {row["style"]: row for row in again["ptb_lstm"]["rows"]}
    assert of_style["semi"]["seeds"] == [0]
    assert {row["style"]: row for row in found["rows"]} == of_style | {"semi": rows["semi"]}
