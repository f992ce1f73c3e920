"""A model of a few units and a text that it learns in seconds."""

import jax
import numpy as np

from experiments.lm import models, training
from experiments.lm.settings import Settings
from experiments.lm.styles import schedule
from experiments.text import data
from experiments.text.words import Words

B = 4
SETTINGS = Settings(schedule("true", 3, seq_len=7), 0.03, num_epochs=4, batch_size=B)


def corpus(num_words=12):
    """A short text that repeats itself in training and not quite in validation."""
    rng = np.random.default_rng(0)
    period = rng.integers(num_words, size=31).astype(np.int32)
    train, other = np.tile(period, 20), rng.integers(num_words, size=200).astype(np.int32)
    words = ["<unk>", *(f"w{n}" for n in range(1, num_words))]
    mixed = np.concatenate([period, other])
    return data.Corpus("test", {}, Words(words), train, mixed, mixed[::-1].copy())


def build(cell="vanilla", layers=1):
    model = models.LanguageModel(12, 5, 6, cell, layers)
    params = jax.tree.map(lambda leaf: 2.0 * leaf, models.init_params(model, jax.random.key(0)))
    return model, params


def run(settings, **model):
    """The result of a whole training, and each epoch's training and validation loss."""
    losses = []
    model = models.LanguageModel(12, 5, 6, **model)

    def report(epoch, progress):
        losses.append((epoch.train_loss, epoch.valid_loss))

    text = training.cut(corpus(), settings)
    progress = training.start(model, text, settings)
    return training.train(model, text, settings, progress, report), losses
