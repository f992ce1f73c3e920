"""What a study leaves in results/: one small JSON with its numbers, and the chart drawn from it."""

import contextlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags

from experiments.lm import data
from experiments.record.environment import environment
from experiments.record.errors import UserError
from experiments.record.files import read_json, replace

flags.DEFINE_string(
    "out",
    "results",
    "Folder of results: those that this main makes are overwritten; name another for a trial.",
)


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


def finished() -> Path:
    """The folder of the results that a main reads.

    Raises:
      UserError: it is not there.
    """
    path = Path(flags.FLAGS.out).expanduser()
    if not path.is_dir():
        raise UserError(f"--out={path} is no folder of results.")
    return path


@contextlib.contextmanager
def readable(*paths: Path) -> Iterator[list[Any]]:
    """The contents of results, for a block that computes with them.

    Raises:
      UserError: one is missing, is no JSON, is of another text than the article's, or lacks a
        number that the block asks for.
    """
    contents = [_read(path) for path in paths]
    try:
        yield contents
    except (LookupError, TypeError, AttributeError, ArithmeticError, StopIteration, ValueError):
        raise _damaged(" or ".join(map(str, paths))) from None


def _read(path):
    try:
        found = read_json(path)
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run its main.") from None
    except ValueError:
        raise _damaged(path) from None
    corpus = found.get("corpus", data.PTB) if isinstance(found, dict) else data.PTB
    if corpus != data.PTB:
        raise UserError(f"{path} is of {corpus}, not of the {data.PTB}; run its main again.")
    return found


def _damaged(names):
    return UserError(f"{names} is damaged; run its main again.")
