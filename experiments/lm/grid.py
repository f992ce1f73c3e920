"""Many runs, each finished one a small JSON: those are not run again, and stopped ones go on."""

import json
from pathlib import Path
from typing import Any

from absl import flags

from experiments.lm import models, run
from experiments.lm.settings import Settings
from experiments.record import run_folder
from experiments.record.environment import environment
from experiments.record.errors import UserError
from experiments.record.files import read_json, replace
from experiments.text import data

flags.DEFINE_string("scratch", "runs", "Folder of the runs that are not finished.")


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
      The configuration, and `train_loss` and `valid_loss` (of each epoch), `best_valid_loss`,
      `best_epoch`, `test_loss`, `seconds`, and what `environment` tells.

    Raises:
      UserError: the file or the scratch folder holds a run with other settings.
    """
    path = folder / f"{name}.json"
    config = run.config(settings, model, corpus)
    if path.exists():
        found = read(path)
        for key, value in config.items():
            if found.get(key) != value:
                raise UserError(f"{path} has {key} {found.get(key)}, not {value}; move it away.")
        return found
    print(f"{name}: {settings.schedule}", flush=True)
    result = run.train(scratch / name, model, corpus, settings, _print_start, _print_epoch)
    epochs = run_folder.epochs(scratch / name)
    found = config | {
        "train_loss": [epoch["train_loss"] for epoch in epochs],
        "valid_loss": [epoch["valid_loss"] for epoch in epochs],
        "seconds": round(sum(epoch["seconds"] for epoch in epochs), 1),
    }
    found |= result._asdict() | environment()
    folder.mkdir(parents=True, exist_ok=True)
    replace(path, json.dumps(found, indent=1, allow_nan=False) + "\n")
    return found


def _print_start(num_finished, num_updates):
    if num_finished or num_updates:
        print(f"  going on after epoch {num_finished} and {num_updates} updates", flush=True)


def _print_epoch(epoch):
    losses = f"train {epoch.train_loss:.4f}  valid {epoch.valid_loss:.4f}"
    print(f"  epoch {epoch.epoch:2d}  {losses}  {epoch.seconds:.0f} s", flush=True)


def read(path: Path) -> dict[str, Any]:
    """A finished run.

    Raises:
      UserError: the file is damaged.
    """
    try:
        return dict(read_json(path))
    except (ValueError, TypeError):
        raise UserError(f"{path} is damaged; remove it to run it again.") from None
