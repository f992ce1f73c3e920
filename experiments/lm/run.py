"""A training run in a folder of its own: it begins there, or goes on from its last epoch."""

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.charts import losses as losses_chart
from experiments.lm import data, models, training
from experiments.lm.settings import Settings
from experiments.record import interrupts, run_folder, trace
from experiments.record import tensorboard as tensorboard_log

LOSSES, TENSORBOARD, PROFILE = "losses.png", "tensorboard", "profile"
TRACED_CALL = 2  # the first may still find cold caches


def config(settings: Settings, model: models.LanguageModel, corpus: data.Corpus) -> dict[str, Any]:
    """All that the losses depend on, but for versions, machine and JAX's settings."""
    resolved = settings._asdict()
    schedule = resolved.pop("schedule")._asdict()
    names = ("cell", "embed_size", "state_size", "layers", "precision")
    sizes = {name: getattr(model, name) for name in names}
    tokens = {split: len(getattr(corpus, split)) for split in data.SPLITS}
    text = {"name": corpus.name, "md5": corpus.md5, "tokens": tokens}
    return schedule | resolved | sizes | {"corpus": text | {"num_words": len(corpus.vocabulary)}}


def train(
    workdir: Path,
    model: models.LanguageModel,
    corpus: data.Corpus,
    settings: Settings,
    began: Callable[[int], None],
    report: Callable[[training.Epoch], None],
    *,
    tensorboard: bool = False,
    profile: bool = False,
) -> training.Result:
    """Trains for the epochs that are left, and keeps the losses and the last state in `workdir`.

    `began` is told how many epochs were finished before, `report` of every new one. Where it stops,
    for whatever reason, losses.png shows the epochs that are finished.

    Args:
      workdir: the folder.
      model: what to train.
      corpus: on what.
      settings: how.
      began: called before the first update.
      report: called after each epoch.
      tensorboard: whether to write each epoch into `workdir`/tensorboard too.
      profile: whether to write a trace of some updates into `workdir`/profile.

    Raises:
      UserError: the folder holds another run, or one that is damaged or goes on elsewhere.
    """
    text = training.cut(corpus, settings)
    progress = training.start(model, text, settings)
    run_folder.begin(workdir, config(settings, model, corpus))

    with run_folder.alone(workdir), contextlib.ExitStack() as stack:
        with interrupts.held_back():
            progress, epochs = run_folder.restore(workdir, progress)
        began(len(epochs))
        stack.callback(losses_chart.draw, epochs, workdir / LOSSES)
        log = lambda _: None
        if tensorboard:
            log = stack.enter_context(tensorboard_log.log(workdir / TENSORBOARD, epochs))
        wrap = lambda train_loop: train_loop
        if profile:
            wrap = functools.partial(trace.trace_call, workdir / PROFILE, TRACED_CALL)

        def keep(epoch: training.Epoch, progress: training.Progress):
            with interrupts.held_back():
                epochs.append(epoch._asdict())
                run_folder.save(workdir, progress, epochs)
                log(epochs[-1])
                report(epoch)

        result = training.train(model, text, settings, progress, keep, wrap)
        run_folder.write_metrics(workdir, [*epochs, result._asdict()])
    return result
