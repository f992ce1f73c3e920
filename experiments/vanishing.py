"""How fast do gradients vanish, and is the factor a property of the task or of the model's size?

  python -m experiments.vanishing --corpus=ptb

The reference article's demonstration: one batch of 200 sequences of 40 words, a tanh RNN with a
state of 4 as it is initialised, without dropout. The gradient of the losses of the last 20 words
for the whole cell kernel, [embedding + state, state], is split by how many steps back each part
arises (`tbptt_jax.lag_spectrum`); the article gives the L1 norm of each part, falling by a factor
of 2.51 to 4.30 a step, geometric mean 3.07. Random matrices of that initialiser, of variance 1 / (E
+ N), shrink a vector by √((E + N) / N) a step: 3.67 at a state of 4, 1.22 at 100.

The command measures the factor for states of 4 to 200 at initialisation (10 seeds), and for a tanh
RNN, a GRU and an LSTM of 4 and of 100, at initialisation and after 3 epochs of training at a rate
of 0.001 (seed 0). About 15 minutes on two CPU cores, nearly all of it training. To expect: a factor
that follows the size of the state, 3 to 4 at 4 and about 1.3 at 100.
"""

import functools
import math
import statistics
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments.charts import vanishing as vanishing_chart
from experiments.lm import models, training
from experiments.lm.decay import factor
from experiments.lm.settings import Settings
from experiments.lm.styles import schedule
from experiments.record import launch, results, seeds
from experiments.text import data
from experiments.text import flags as text_flags
from experiments.text.sequences import sequences
from tbptt_jax import lag_spectrum, linear_softmax_cross_entropy

flags.declare_key_flag("out")
flags.adopt_module_key_flags(seeds)
flags.declare_key_flag("corpus")
flags.declare_key_flag("data_dir")

EMBED = 50
STATES = (4, 8, 16, 32, 64, 100, 200)
COMPARED = (4, 100)  # states for which all cells are measured, and trained
BATCH, NUM_STEPS, HORIZON = 200, 40, 20
DEFAULTS = {"num_seeds": 10}
NUM_EPOCHS = 3
# The article's L1 norms, lag 0 first.
ARTICLE = (
    9.78200531e01,
    2.27248211e01,
    6.16793633e00,
    2.19093657e00,
    7.39126682e-01,
    2.45202959e-01,
    7.23497868e-02,
    2.23708227e-02,
    8.92040879e-03,
    2.74375151e-03,
    1.01710076e-03,
    3.37805774e-04,
    1.17605050e-04,
    3.94736344e-05,
    1.32292716e-05,
    5.00411124e-06,
    1.55859300e-06,
    4.04591049e-07,
    1.51207473e-07,
    5.28676978e-08,
)


def expected_factor(state_size: int) -> float:
    """√((E + N) / N): what random kernels of variance 1 / (E + N) do to a vector of N numbers."""
    return math.sqrt((EMBED + state_size) / state_size)


def make_norms(model: models.LanguageModel):
    """Builds the jitted (params, tokens, targets [T, B]) -> L1 norm of the kernels' part, [H]."""

    def loss(params, ys, targets):
        """The sum over the words that have `HORIZON` steps before them, as in the article."""
        readout = params["readout"]
        late = ys[-HORIZON:], readout["kernel"], readout["bias"], targets[-HORIZON:]
        return linear_softmax_cross_entropy(*late, reduction="sum")

    spectrum = lag_spectrum(functools.partial(models.step, model), loss, horizon=HORIZON)

    @jax.jit
    def norms(params, tokens, targets):
        carry = models.init_carry(model, tokens.shape[1])
        found = spectrum(params, carry, models.Inputs(tokens), targets)
        leaves = jax.tree_util.tree_leaves_with_path(found.leaf_l1["recurrence"])
        return sum(norm for path, norm in leaves if "kernel" in jax.tree_util.keystr(path))

    return norms


def row(model: models.LanguageModel, epochs: int, norms: list[np.ndarray]) -> dict[str, Any]:
    """What was found for one model, its seeds in `norms`; printed as it is found."""
    factors = [factor(of_seed) for of_seed in norms]
    ratios = [np.divide(of_seed[:-1], of_seed[1:]) for of_seed in norms]
    low, high = np.min(ratios), np.max(ratios)
    name = f"{model.cell:8s} state {model.state_size:3d}"
    print(
        f"{name}  {epochs} epochs  factor {statistics.median(factors):5.2f} "
        f"(seeds {min(factors):.2f}-{max(factors):.2f}, steps {low:.2f}-{high:.2f}); "
        f"√((E+N)/N) {expected_factor(model.state_size):.2f}",
        flush=True,
    )
    found = {"cell": model.cell, "state_size": model.state_size, "epochs": epochs}
    found |= {"expected": expected_factor(model.state_size), "factor": factors}
    return found | {"l1": [[float(f"{x:.6g}") for x in of_seed] for of_seed in norms]}


def at_start(model: models.LanguageModel, batch: tuple, num_seeds: int) -> dict[str, Any]:
    """The model as it is initialised, over the seeds."""
    norms = make_norms(model)
    keys = jax.random.split(jax.random.key(0), num_seeds)
    return row(model, 0, [np.asarray(norms(models.init_params(model, k), *batch)) for k in keys])


def trained(model: models.LanguageModel, batch: tuple, corpus: data.Corpus) -> dict[str, Any]:
    """The model after training in the true style, horizon 20 in sequences of 40."""
    plan = schedule("true", HORIZON, seq_len=NUM_STEPS)
    settings = Settings(plan, num_epochs=NUM_EPOCHS)
    text = training.cut(corpus, settings)
    last = training.start(model, text, settings)

    def keep(epoch, progress):
        nonlocal last
        last = progress
        print(f"  epoch {epoch.epoch}  valid {epoch.valid_loss:.3f}", flush=True)

    training.train(model, text, settings, last, keep)
    return row(model, NUM_EPOCHS, [np.asarray(make_norms(model)(last.params, *batch))])


def main():
    out, num_seeds = results.folder(), flags.FLAGS.num_seeds
    corpus = text_flags.corpus_from_flags()
    first = sequences(corpus.train, BATCH, NUM_STEPS, "train").read(0, 1)
    batch = first.inputs[0], first.targets[0]
    build = functools.partial(models.LanguageModel, len(corpus.vocabulary), EMBED)
    print(f"the article: factor {factor(ARTICLE):.2f}, state 4, 0 epochs")
    rows = [at_start(build(state), batch, num_seeds) for state in STATES]
    for cell in models.CELLS:
        for state in COMPARED:
            model = build(state, cell)
            if cell != "vanilla":
                rows.append(at_start(model, batch, num_seeds))
            rows.append(trained(model, batch, corpus))
    found = {"corpus": corpus.name, "num_seeds": num_seeds, "article_l1": ARTICLE, "rows": rows}
    results.write(out, "vanishing", found)
    vanishing_chart.draw(found, out / "vanishing.png")


if __name__ == "__main__":
    launch.run(main)
