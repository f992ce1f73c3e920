"""A piece of a study, kept as a small JSON once it is finished: it is not done again."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from absl import flags

from experiments.record.environment import environment
from experiments.record.errors import UserError
from experiments.record.files import folder_of_flag, read_object, replace

ORIGIN = "commit", "device"  # of the code that found the numbers, and where it ran

flags.DEFINE_string("scratch", "runs", "Folder of what is not finished.")


def folder(inside: str = "") -> Path:
    """Where a study keeps its pieces, inside --scratch; as `folder_of_flag` makes it."""
    return folder_of_flag("scratch", flags.FLAGS.scratch, inside)


def kept(
    path: Path,
    config: Mapping[str, Any],
    find: Callable[[], Mapping[str, Any]],
    holds: Mapping[str, tuple[int, ...]],
) -> dict[str, Any]:
    """What `find` finds: from the file where it is finished, else found now and written there.

    Args:
      path: the file.
      config: all that the numbers depend on.
      find: returns the numbers.
      holds: their shapes, by their names.

    Returns:
      The numbers, and their `ORIGIN`.

    Raises:
      UserError: the file has another configuration, or is damaged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        found = {**config, **find(), **environment()}
        replace(path, json.dumps(found, indent=1, allow_nan=False) + "\n")
    found = _read(path)
    for key, value in json.loads(json.dumps(config)).items():
        if found.get(key) != value:
            raise UserError(f"{path} has {key} {found.get(key)}, not {value}; move it away.")
    for name, shape in holds.items():
        if not _are_numbers(found.get(name), shape):
            raise _damaged(path, f"{name} is not numbers of the shape {list(shape)}")
    return {name: found[name] for name in (*holds, *ORIGIN)}


def _read(path):
    try:
        return read_object(path, {"commit": str | None, "device": str})
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; move it away.") from None
    except ValueError as error:
        raise _damaged(path, error) from None


def _damaged(path, why):
    return UserError(f"{path} is damaged ({why}); remove it to run it again.")


def _are_numbers(value, shape):
    """Whether it is finite numbers, in lists of these lengths."""
    if shape:
        is_long = isinstance(value, list) and len(value) == shape[0]
        return is_long and all(_are_numbers(each, shape[1:]) for each in value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) < math.inf
