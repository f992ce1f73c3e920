"""Times calls in alternation: on a shared machine what counts is the ratio within a round."""

import multiprocessing
import random
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import jax
from absl import flags

flags.DEFINE_integer("rounds", 11, "Rounds of the alternation.", lower_bound=1)


def alternate(calls: dict[str, Callable], rounds: int, repeats: int = 1) -> dict[str, list[float]]:
    """Seconds of every call in every round, by name, after a round to warm up.

    In a round each call has its turn, in a new order that is the same in every process, and
    `repeats` times in a row, of which the median counts: three of them do away with what the call
    before left in the caches and in the allocator.
    """
    order, rng = [*calls.items()], random.Random(0)
    seconds = {name: [] for name in calls}
    for call in calls.values():
        jax.block_until_ready(call())
    for _ in range(rounds):
        rng.shuffle(order)
        for name, call in order:
            seconds[name].append(statistics.median(_seconds(call) for _ in range(repeats)))
    return seconds


def _seconds(call):
    began = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - began


def in_new_process(function: Callable, *args: Any) -> Any:
    """`function(*args)`, from a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn) as pool:
        return pool.submit(function, *args).result()


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
