"""Several processes that run one command together, and end together."""

import atexit
import contextlib
import os
import re
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import jax
import numpy as np
from jax._src import distributed
from jax.experimental import multihost_utils

from experiments.record.errors import UserError

LOST = "another process has ended or cannot be reached; start all of them again to go on"
# How the message of a collective begins that fails; JAX raises several types.
FAILED = re.compile(
    "(UNKNOWN|INTERNAL|UNAVAILABLE|ABORTED|CANCELLED|DEADLINE_EXCEEDED|FAILED_PRECONDITION): "
)

_saying = threading.Lock()
_codes: list[int] = []  # that of the end, when its reason is said
_logs: list[Path] = []  # what JAX's runtime prints
_stderr = [2]  # the descriptor to which Python prints, whatever sys.stderr is for a while


class LostError(Exception):
    """Another process has ended, or cannot be reached."""


class SharedError(UserError):
    """An error caused by user input that every process finds."""


def are_several() -> bool:
    """Whether this is one of several processes; known before JAX looks for devices."""
    return jax.distributed.is_initialized() and distributed.global_state.num_processes > 1


def is_first() -> bool:
    """Whether this is process 0, which writes what is written once."""
    return jax.process_index() == 0


def wait(name: str) -> None:
    """Until all processes are here."""
    if are_several():
        multihost_utils.sync_global_devices(name)


def first_then_others(name: str, do: Callable[[], None]) -> None:
    """Process 0 does it; then the others do it too, and find it done."""
    if is_first():
        do()
    wait(name)
    if not is_first():
        do()
    wait(f"{name}, all")


def largest(number: int) -> int:
    """Of the numbers of all processes."""
    return int(multihost_utils.process_allgather(np.int32(number)).max())


def leave() -> None:
    """Waits for the other processes; then each may end without ending another."""
    if are_several():
        jax.distributed.shutdown()


@contextlib.contextmanager
def lost_if_it_fails() -> Iterator[None]:
    """A collective that fails, in a compiled program too, raises LostError.

    So does an error that follows from it.
    """
    try:
        yield
    except Exception as error:
        failed = next(filter(_is_failed_collective, _chain(error)), None)
        if failed is None or not are_several():
            raise
        raise LostError(lost(str(failed).splitlines()[0])) from error


def _is_failed_collective(error: BaseException) -> bool:
    return isinstance(error, jax.errors.JaxRuntimeError | ValueError) and bool(
        FAILED.match(str(error))
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those that it follows from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def lost(*said: str) -> str:
    """The line that ends a process where another one is lost."""
    return f"{LOST} ({'; '.join([*said, *about_runtime()])})."


def about_runtime() -> list[str]:
    """Where the messages of JAX's runtime are."""
    return [f"JAX's messages: {log}" for log in _logs]


def keep_runtime_apart() -> Path:
    """From now on what C prints goes to this file, and what Python prints where it did."""
    file, name = tempfile.mkstemp(prefix="jax-runtime-", suffix=".log")
    for number, stream in enumerate(("stdout", "stderr"), 1):
        getattr(sys, stream).flush()
        kept = open(os.dup(number), "w", buffering=1, errors="backslashreplace")  # noqa: SIM115
        setattr(sys, stream, kept)
        os.dup2(file, number)
    _stderr[0] = sys.stderr.fileno()
    _logs.append(Path(name))
    atexit.register(_logs[0].unlink, missing_ok=True)
    return _logs[0]


@contextlib.contextmanager
def ending_together() -> Iterator[None]:
    """An error that ends one of several processes does not wait for the others, which then end."""
    try:
        yield
    except SystemExit as stop:
        code = stop.code
        if code and are_several():
            end(code) if isinstance(code, str) else end("", code)
        raise
    except Exception:
        if are_several():
            end(traceback.format_exc().rstrip())
        raise


def say_last(said: str, code: int) -> None:
    """Says why the process ends, unless that is said already: its threads find the same fault."""
    with _saying:
        if not _codes and said:
            os.write(_stderr[0], f"{said}\n".encode(errors="backslashreplace"))
            for log in _logs:
                if str(log) not in said:
                    log.unlink(missing_ok=True)
        _codes.append(code)


def end(said: str, code: int = 1) -> NoReturn:
    """Ends the process at once, with the code of the reason that was said first."""
    say_last(said, code)
    os._exit(_codes[0])
