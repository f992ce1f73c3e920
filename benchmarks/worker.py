"""What a peer's process does: it reads requests from standard input and answers each in one line.

Requests and answers are JSON objects, one a line:

    {"do": "versions"}                                        {"versions": {...}, "threads": 2}
    {"do": "variants"}                                        {"variants": ["full", ...]}
    {"do": "load", "path": "problem.npz", "horizon": 20}      {}
    {"do": "gradient", "variant": "full", "path": "out.npz"}  {}
    {"do": "time", "variant": "full", "repeats": 3}           {"seconds": [0.1, 0.1, 0.1]}

`gradient` writes the loss and the gradients. A request that fails is answered by {"error": ...}.
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

THREADS = 2  # of a peer, on as many cores

Problem = Mapping[str, np.ndarray]
Step = Callable[[], tuple[Any, dict[str, Any]]]  # () -> (loss, gradients by name), finished
Variants = Mapping[str, Callable[[Problem, int], Step]]  # (problem, horizon) -> Step


def serve(variants: Variants, versions: dict[str, str]) -> None:
    """Answers requests until standard input ends.

    Args:
      variants: the peer's ways to compute the step, by name.
      versions: of the framework's packages.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a framework prints must not come between the answers
    session = _Session(variants, versions)
    for line in sys.stdin:
        try:
            request = json.loads(line)
            answer = getattr(session, request.pop("do"))(**request)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


class _Session:
    """The problem that is loaded, and the steps built for it so far; a method a request."""

    def __init__(self, variants, versions):
        self._variants, self._versions = variants, versions
        self._problem, self._horizon, self._steps = {}, 0, {}

    def versions(self):
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else THREADS
        versions = self._versions | {"numpy": np.__version__}
        return {"versions": versions, "threads": min(cores, THREADS)}

    def variants(self):
        return {"variants": list(self._variants)}

    def load(self, path, horizon):
        with np.load(path) as arrays:
            self._problem = dict(arrays)
        self._horizon, self._steps = horizon, {}
        return {}

    def gradient(self, variant, path):
        loss, grads = self._step(variant)()
        arrays: dict[str, Any] = {name: np.asarray(grad) for name, grad in grads.items()}
        np.savez(path, loss=np.asarray(loss), **arrays)
        return {}

    def time(self, variant, repeats):
        step = self._step(variant)
        seconds = []
        for _ in range(repeats):
            began = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - began)
        return {"seconds": seconds}

    def _step(self, variant):
        """The variant's step, compiled and warm."""
        if variant not in self._steps:
            step = self._variants[variant](self._problem, self._horizon)
            for _ in range(2):
                step()
            self._steps[variant] = step
        return self._steps[variant]
