"""Times calls in alternation, and what every benchmark does with the numbers."""

import argparse
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from benchmarks.client import PeerError, limit_threads
from benchmarks.machine import machine

RESULTS = Path(__file__).parent / "results"


def alternate(calls: dict[str, Callable], rounds: int) -> dict[str, list[float]]:
    """Seconds of every call, by name: each once a round, in turn, after a round to warm up."""
    seconds = {name: [] for name in calls}
    for call in calls.values():
        jax.block_until_ready(call())
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            jax.block_until_ready(call())
            seconds[name].append(time.perf_counter() - began)
    return seconds


def quartiles(values: list[float]) -> list[float]:
    """Lower quartile, median, upper quartile."""
    if len(values) == 1:
        values = values * 2
    return [round(q, 4) for q in statistics.quantiles(values, n=4, method="inclusive")]


def ratios(over: list[float], under: list[float], scale: float = 1.0) -> list[float]:
    """Quartiles of the ratio of two lists, taken round by round."""
    return quartiles([scale * a / b for a, b in zip(over, under, strict=True)])


def milliseconds(seconds: list[float]) -> float:
    """The median."""
    return round(1e3 * statistics.median(seconds), 3)


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
