"""What a study leaves: one small JSON with its numbers, and the chart drawn from it."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from experiments.record.environment import environment
from experiments.record.errors import UserError
from experiments.record.files import folder_of_flag, replace, user_path

ROOT = Path(__file__).parents[2].resolve()

flags.DEFINE_string("out", "runs/results", "Folder to write into.")
flags.DEFINE_string("results", "results", "Folder of results to read.")


def folder(inside: str = "") -> Path:
    """Where a command writes, or a folder inside; as `folder_of_flag` makes it."""
    return folder_of_flag("out", flags.FLAGS.out, inside)


def finished() -> Path:
    """The folder of the results that a command reads.

    Raises:
      UserError: it is not there.
    """
    path = user_path(flags.FLAGS.results)
    if not path.is_dir():
        raise UserError(f"--results={path} is no folder of results.")
    return path


def rounded(x: np.typing.ArrayLike) -> Any:
    """Numbers to five significant digits, in nested lists."""
    return np.vectorize(lambda x: float(f"{x:.5g}"), [float])(np.asarray(x, float)).tolist()


def write(out: Path, name: str, found: dict[str, Any]) -> dict[str, Any]:
    """Writes `found` as JSON, with the command that found it and all that it depends on.

    Returns:
      All that was written.

    Raises:
      ValueError: a number in it is not finite.
    """
    main = Path(sys.argv[0]).resolve().relative_to(ROOT).with_suffix("")
    command = " ".join([f"python -m {'.'.join(main.parts)}", *sys.argv[1:]])
    path = out / f"{name}.json"
    found = {"command": command} | environment() | found
    text = json.dumps(found, indent=1, allow_nan=False)
    text = re.sub(r"\[[^][{}]*\]", lambda numbers: " ".join(numbers[0].split()), text)
    replace(path, text + "\n")
    print(f"written: {path}")
    return found
