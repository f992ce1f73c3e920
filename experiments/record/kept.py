"""A piece of a study, kept as a small JSON once it is finished: it is not done again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags

from experiments.record.environment import environment
from experiments.record.errors import UserError
from experiments.record.files import read_object, replace

flags.DEFINE_string("scratch", "runs", "Folder of what is not finished.")


def kept(path: Path, config: dict[str, Any], find: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `find` finds: from the file where it is finished, else found now and written there.

    Args:
      path: the file.
      config: all that the numbers depend on.
      find: returns the numbers.

    Returns:
      The configuration, the numbers, and what `environment` tells.

    Raises:
      UserError: the file has another configuration, or is damaged.
    """
    config = json.loads(json.dumps(config))
    if path.exists():
        found = _read(path)
        for key, value in config.items():
            if found.get(key) != value:
                raise UserError(f"{path} has {key} {found.get(key)}, not {value}; move it away.")
        return found
    found = config | find() | environment()
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, json.dumps(found, indent=1, allow_nan=False) + "\n")
    return found


def _read(path):
    try:
        return read_object(path, {})
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); remove it to run it again.") from None
