"""Several processes that run one command together, and end together."""

import atexit
import contextlib
import ctypes
import functools
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import NoReturn

import jax
import numpy as np
from absl import flags
from jax._src.lib import _jax  # pyright: ignore[reportPrivateImportUsage]
from jax.experimental import multihost_utils

from experiments.record.errors import UserError

HEARTBEAT_SECONDS = 20  # without a sign of life, until a process counts as lost
LOST = "another process has ended or cannot be reached; start all of them again to go on"
DETECT = "auto"
STDOUT, STDERR = 1, 2

flags.DEFINE_string(
    "coordinator",
    None,
    "Address and port of process 0, where several processes run the command together; auto where "
    "SLURM, Open MPI, Kubernetes or a TPU pod has started them.",
)
flags.DEFINE_integer("num_processes", None, "Number of processes.", lower_bound=1)
flags.DEFINE_integer("process_id", None, "Number of this process, from 0.", lower_bound=0)

_saying = threading.Lock()
_codes: list[int] = []  # that of the end, when its reason is said
_on_abort: list = []  # a handler in C, which lives as long as the process


def start() -> None:
    """Joins the processes that --coordinator names; before JAX looks for devices.

    Process 0 alone prints to stdout. What JAX's runtime prints goes to a file of the process.

    Raises:
      UserError: flags contradict each other, or the others cannot be reached.
    """
    values = flags.FLAGS
    address, num, number = values.coordinator, values.num_processes, values.process_id
    if address is None:
        for name in ("num_processes", "process_id"):
            if values[name].value is not None:
                raise UserError(f"--{name} goes with --coordinator=ADDRESS:PORT.")
        return
    if address != DETECT:
        _check(address, num, number)
    named = {} if address == DETECT else {"coordinator_address": address}
    log, name = tempfile.mkstemp(prefix="jax-runtime-", suffix=".log")
    stdout, stderr = os.dup(STDOUT), os.dup(STDERR)
    try:
        with _lost_ends(f"error: {LOST} (JAX's messages: {name}).", stderr):
            for stream in (STDOUT, STDERR):
                os.dup2(log, stream)
            jax.distributed.initialize(
                **named,
                num_processes=num,
                process_id=number,
                heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            )
            number = jax.process_index()  # connects, which Gloo prints
    except Exception as error:  # of several kinds, by what detects or connects
        os.dup2(stderr, STDERR)
        os.unlink(name)
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"--coordinator={address}: the processes cannot join: {said}") from error
    finally:
        os.dup2(stdout, STDOUT)
    if number:
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
    sys.stderr = open(stderr, "w", buffering=1, errors="backslashreplace")  # noqa: SIM115
    atexit.register(os.unlink, name)


def _check(address, num, number):
    if num is None or number is None:
        raise UserError(f"--coordinator={address} goes with --num_processes and --process_id.")
    if not address.rpartition(":")[0] or not address.rpartition(":")[2].isdecimal():
        raise UserError(f"--coordinator={address} must be ADDRESS:PORT, or auto.")
    if number >= num:
        raise UserError(f"--process_id={number} must be below --num_processes={num}.")


@contextlib.contextmanager
def _lost_ends(said: str, stderr: int) -> Iterator[None]:
    """Where another process is lost, JAX aborts with a stack trace; here one line is said instead.

    JAX's client takes a callback for it, which `jax.distributed.initialize` does not pass on. Up to
    jaxlib 0.10 it cannot be called from C++, which then aborts too.
    """
    make = _jax.get_distributed_runtime_client
    lost = lambda *_: end(said, stderr=stderr)
    _jax.get_distributed_runtime_client = functools.partial(make, missed_heartbeat_callback=lost)
    try:
        yield
    finally:
        _jax.get_distributed_runtime_client = make
    _on_abort.append(ctypes.CFUNCTYPE(None, ctypes.c_int)(lost))
    ctypes.CDLL(None).signal(int(signal.SIGABRT), _on_abort[-1])


def are_several() -> bool:
    """Whether this is one of several processes."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_first() -> bool:
    """Whether this is process 0, which writes what is written once."""
    return jax.process_index() == 0


def wait(name: str) -> None:
    """Until all processes are here."""
    if jax.process_count() > 1:
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


def say_last(said: str, code: int, stderr: int | None = None) -> None:
    """Says why the process ends, unless that is said already: its threads find the same fault."""
    with _saying:
        if not _codes and said:
            os.write(sys.stderr.fileno() if stderr is None else stderr, f"{said}\n".encode())
        _codes.append(code)


def end(said: str, code: int = 1, stderr: int | None = None) -> NoReturn:
    """Ends the process at once, with the code of the reason that was said first."""
    say_last(said, code, stderr)
    os._exit(_codes[0])
