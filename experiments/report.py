"""What a study leaves in results/: one small JSON with its numbers, and the chart drawn from it."""

import json
import re
import sys
from pathlib import Path
from typing import Any

from absl import flags

from experiments.record import environment, replace

flags.DEFINE_string("out", "results", "Folder of the numbers and the chart.")
flags.DEFINE_integer("num_seeds", None, "Seeds; the default is the study's own.", lower_bound=1)


def folder() -> Path:
    """Where a study writes."""
    return Path(flags.FLAGS.out).expanduser()


def write(name: str, found: dict[str, Any]) -> None:
    """Writes `found` as JSON, with the command that found it and all that it depends on."""
    module = sys.argv[0].rsplit("/", 1)[-1].removesuffix(".py")
    command = " ".join(["python -m", f"experiments.{module}", *sys.argv[1:]])
    path = folder() / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"command": command} | environment() | found, indent=1)
    text = re.sub(r"\[[^][{}]*\]", lambda numbers: " ".join(numbers[0].split()), text)
    replace(path, text + "\n")
    print(f"written: {path}")
