"""What every benchmark shares: its flags, its refusals, its file of results."""

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.client import PeerError, limit_threads
from benchmarks.machine import machine

RESULTS = Path(__file__).parent / "results"


def parser(about: str, rounds: int | None) -> argparse.ArgumentParser:
    """The flags that benchmarks share; those that do not alternate have no rounds."""
    flags = argparse.ArgumentParser(description=about)
    if rounds is not None:
        flags.add_argument(
            "--rounds", type=at_least_one, default=rounds, help=f"times around ({rounds})"
        )
    flags.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    return flags


def at_least_one(text: str) -> int:
    """A number of rounds or repeats."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return int(text)


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """What the user can mend ends in one line; earlier results stay."""
    try:
        limit_threads()
        yield
    except (PeerError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; earlier results stay.")


def write(folder: Path, name: str, report: dict[str, Any]) -> dict[str, Any]:
    """Writes the report with all that its numbers depend on, and returns the whole."""
    report = machine() | report
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return report
