"""What a study leaves: one small JSON with its numbers, and the chart drawn from it."""

import functools
import json
import re
import sys
from pathlib import Path
from typing import Any

from absl import flags

from experiments.lm import data
from experiments.record.environment import environment
from experiments.record.errors import UserError
from experiments.record.files import read_json, replace

flags.DEFINE_string("out", "runs/results", "Folder to write into; a checkout commits results/.")
flags.DEFINE_string("results", "results", "Folder of results to read.")


def folder() -> Path:
    """Where a command writes; made now, so that a wrong name ends it before it has worked.

    Raises:
      UserError: it is a file, or cannot be made.
    """
    path = Path(flags.FLAGS.out).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out={path} cannot be a folder: {error.strerror}.") from None
    return path


def finished() -> Path:
    """The folder of the results that a command reads.

    Raises:
      UserError: it is not there.
    """
    path = Path(flags.FLAGS.results).expanduser()
    if not path.is_dir():
        raise UserError(f"--results={path} is no folder of results.")
    return path


def write(out: Path, name: str, found: dict[str, Any]) -> None:
    """Writes `found` as JSON, with the command that found it and all that it depends on.

    Raises:
      ValueError: a number in it is not finite.
    """
    module = sys.argv[0].rsplit("/", 1)[-1].removesuffix(".py")
    command = " ".join(["python -m", f"experiments.{module}", *sys.argv[1:]])
    path = out / f"{name}.json"
    text = json.dumps({"command": command} | environment() | found, indent=1, allow_nan=False)
    text = re.sub(r"\[[^][{}]*\]", lambda numbers: " ".join(numbers[0].split()), text)
    replace(path, text + "\n")
    print(f"written: {path}")


class Numbers(dict):
    """An object of a result; what it lacks and is asked for is an error that names the file."""

    def __init__(self, path: Path, pairs: list[tuple[str, Any]]):
        super().__init__(pairs)
        self.path = path

    def __missing__(self, name):
        raise self.lacks(name)

    def lacks(self, what: str) -> UserError:
        return UserError(f"{self.path} lacks {what}; run its command again.")

    def row(self, rows: str, /, **values: Any) -> "Numbers":
        """The first row of the list `rows` that has these values."""
        for row in self[rows]:
            if all(row[key] == value for key, value in values.items()):
                return row
        raise self.lacks(f"{rows} of " + ", ".join(f"{k} {v}" for k, v in values.items()))


def read(path: Path) -> Numbers:
    """The content of a result.

    Raises:
      UserError: it is missing, is no JSON object, or is of another text than the article's.
    """
    try:
        found = read_json(path, functools.partial(Numbers, path))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run its command.") from None
    except ValueError:
        raise UserError(f"{path} is damaged; run its command again.") from None
    if not isinstance(found, Numbers):
        raise UserError(f"{path} is damaged; run its command again.")
    if (corpus := found.get("corpus", data.PTB)) != data.PTB:
        raise UserError(f"{path} is of {corpus}, not of the {data.PTB}; run its command again.")
    return found
