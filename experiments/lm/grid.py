"""Many runs, each finished one a small JSON: those are not run again, and stopped ones go on."""

from pathlib import Path
from typing import Any

from absl import flags

from experiments.lm import models, run, training
from experiments.lm.settings import Settings
from experiments.record import kept, run_folder
from experiments.text import data

flags.adopt_module_key_flags(kept)


def cell(
    folder: Path,
    scratch: Path,
    name: str,
    model: models.LanguageModel,
    corpus: data.Corpus,
    settings: Settings,
) -> dict[str, Any]:
    """One run's numbers: from `folder`/`name`.json where it is finished, else trained now.

    Args:
      folder: where finished runs are kept.
      scratch: where the run keeps its state until then; `scratch`/`name`.
      name: of the run.
      model: what to train.
      corpus: on what.
      settings: how.

    Returns:
      `train_loss` and `valid_loss` (of each epoch), `best_valid_loss`, `best_epoch`, `test_loss`,
      `seconds`, the run's `seed` and `commit`.

    Raises:
      UserError: the file or the scratch folder holds a run with other settings, or is damaged.
    """

    def train():
        print(f"{name}: {settings.schedule}", flush=True)
        result = run.train(scratch / name, model, corpus, settings, _print_start, _print_epoch)
        epochs = run_folder.epochs(scratch / name)
        begun = run_folder.config(scratch / name, {"commit": str | None, "device": str})
        return {
            "train_loss": [epoch["train_loss"] for epoch in epochs],
            "valid_loss": [epoch["valid_loss"] for epoch in epochs],
            "seconds": round(sum(epoch["seconds"] for epoch in epochs), 1),
            "begun": {key: begun[key] for key in kept.ORIGIN},
        } | result._asdict()

    holds = dict.fromkeys(("train_loss", "valid_loss"), (settings.num_epochs,))
    holds |= dict.fromkeys((*training.Result._fields, "seconds"), ())
    config = run.config(settings, model, corpus)
    found = kept.kept(folder / f"{name}.json", config, train, holds)
    return found | {"seed": settings.seed}


def _print_start(num_finished, num_updates):
    if num_finished or num_updates:
        print(f"  going on after epoch {num_finished} and {num_updates} updates", flush=True)


def _print_epoch(epoch):
    losses = f"train {epoch.train_loss:.4f}  valid {epoch.valid_loss:.4f}"
    print(f"  epoch {epoch.epoch:2d}  {losses}  {epoch.seconds:.0f} s", flush=True)
