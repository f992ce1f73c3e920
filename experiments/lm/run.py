"""A training run in a folder of its own: it begins there, or goes on from its last epoch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.lm import data, models, training
from experiments.lm.settings import Settings
from experiments.record import run_folder


def config(settings: Settings, model: models.LanguageModel, corpus: data.Corpus) -> dict[str, Any]:
    """All that the losses depend on, but for versions, machine and JAX's settings."""
    resolved = settings._asdict()
    schedule = resolved.pop("schedule")._asdict()
    sizes = {name: getattr(model, name) for name in ("cell", "embed_size", "state_size")}
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
) -> training.Result:
    """Trains for the epochs that are left, and keeps the losses and the last state in `workdir`.

    `began` is told how many epochs were finished before, `report` of every new one.

    Raises:
      UserError: the folder holds another run, or one that is damaged or goes on elsewhere.
    """
    text = training.cut(corpus, settings)
    progress = training.start(model, settings)
    run_folder.begin(workdir, config(settings, model, corpus))

    with run_folder.alone(workdir):
        progress, epochs = run_folder.restore(workdir, progress)
        began(len(epochs))

        def keep(epoch: training.Epoch, progress: training.Progress):
            epochs.append(epoch._asdict())
            run_folder.save(workdir, progress, epochs)
            report(epoch)

        result = training.train(model, text, settings, progress, keep)
        run_folder.write_metrics(workdir, [*epochs, result._asdict()])
    return result
