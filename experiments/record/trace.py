"""A JAX trace of one call among many."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax


def trace_call(folder: Path, number: int, function: Callable) -> Callable:
    """`function`, whose call of that number, from 1, leaves a trace in `folder`.

    `trace_file` finds it.
    """
    numbers = itertools.count(1)

    def call(*args: Any) -> Any:
        if next(numbers) != number:
            return function(*args)
        with jax.profiler.trace(str(folder)):
            return jax.block_until_ready(function(*args))

    return call


def trace_file(folder: Path) -> Path | None:
    """The newest trace in `folder`, a file for https://ui.perfetto.dev; None if there is none."""
    return max(folder.rglob("*.trace.json.gz"), default=None)
