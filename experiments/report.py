"""What a study leaves in results/: one small JSON with its numbers, and the chart drawn from it."""

import json
import re
import sys
from pathlib import Path
from typing import Any

from absl import flags

from experiments.errors import UserError
from experiments.record import environment, replace

flags.DEFINE_string(
    "out",
    "results",
    "Folder of the numbers and the chart, which are overwritten; name another for a trial.",
)
flags.DEFINE_integer("num_seeds", None, "Seeds; the default is the study's own.", lower_bound=1)


def folder() -> Path:
    """Where a study writes; made now, so that a wrong name ends it before it has worked.

    Raises:
      UserError: it is a file, or cannot be made.
    """
    path = Path(flags.FLAGS.out).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out={path} cannot be a folder: {error.strerror}.") from None
    return path


def write(out: Path, name: str, found: dict[str, Any]) -> None:
    """Writes `found` as JSON, with the command that found it and all that it depends on."""
    module = sys.argv[0].rsplit("/", 1)[-1].removesuffix(".py")
    command = " ".join(["python -m", f"experiments.{module}", *sys.argv[1:]])
    path = out / f"{name}.json"
    text = json.dumps({"command": command} | environment() | found, indent=1)
    text = re.sub(r"\[[^][{}]*\]", lambda numbers: " ".join(numbers[0].split()), text)
    replace(path, text + "\n")
    print(f"written: {path}")
