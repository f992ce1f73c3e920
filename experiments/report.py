"""What a study leaves in results/: one small JSON with its numbers, and the chart drawn from it."""

import contextlib
import json
import re
import sys
from collections.abc import Iterator
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


@contextlib.contextmanager
def readable(*paths: Path) -> Iterator[list[Any]]:
    """The contents of results, for a block that computes with them.

    Raises:
      UserError: one is missing, is no JSON, or lacks a number that the block asks for.
    """
    names = " or ".join(map(str, paths))
    try:
        yield [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing; run its main.") from None
    except (ValueError, KeyError, TypeError, IndexError, StopIteration):
        raise UserError(f"{names} is damaged; run its main again.") from None
