"""How several processes join: the address of process 0, and the same flags for all."""

import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from absl import flags
from jax._src import distributed

from experiments.record import processes
from experiments.record.errors import UserError

JOIN_SECONDS = 120  # until all processes are here
PATIENCE_SECONDS = 5  # until a process says that it waits for the others
HEARTBEAT_SECONDS = 20  # without a sign of life, until a process counts as lost
TIMEOUT_MS = 60_000  # for flags of a process that has joined
LARGEST_PORT = 2**16 - 1
DETECT = "auto"
# Flags of a machine. The text that a process reads is compared by its digest, in config.json.
OF_A_MACHINE = {"process_id", "coordinator", "data_dir", "text", "jax_compilation_cache_dir"}

flags.DEFINE_string(
    "coordinator",
    None,
    "Address and port of process 0, where several processes run the command together; auto where "
    f"SLURM, Open MPI, Kubernetes or a TPU pod has started them. Each waits {JOIN_SECONDS} seconds "
    "for all of them.",
)
flags.DEFINE_integer("num_processes", None, "Number of processes.", lower_bound=1)
flags.DEFINE_integer("process_id", None, "Number of this process, from 0.", lower_bound=0)

_on_abort: list = []  # a handler in C, which lives as long as the process


def start() -> None:
    """Joins the processes that --coordinator names; before JAX looks for devices.

    Process 0 alone prints to stdout. What JAX's runtime prints goes to a file of the process.

    Raises:
      UserError: flags contradict each other, or the others cannot be reached.
      SharedError: flags differ from process to process.
      LostError: another process has ended.
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
    log = processes.keep_runtime_apart()
    try:
        with _said_if_long(address), _abort_says(lambda: _cannot_join(address, _reason(log))):
            if address != DETECT:
                _reach(address, number)
            jax.distributed.initialize(
                coordinator_address=None if address == DETECT else address,
                num_processes=num,
                process_id=number,
                initialization_timeout=JOIN_SECONDS,
                heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            )
    except Exception as error:  # of several kinds, by what detects or connects
        said = getattr(error, "strerror", None) or (str(error).splitlines() or [repr(error)])[0]
        raise UserError(_cannot_join(address, said)) from error
    if distributed.global_state.process_id:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    _refuse_different_flags()


def _check(address, num, number):
    if num is None or number is None:
        raise UserError(f"--coordinator={address} goes with --num_processes and --process_id.")
    host, _, port = address.rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,9}", port):
        raise UserError(f"--coordinator={address} must be ADDRESS:PORT, or auto.")
    if not 1 <= int(port) <= LARGEST_PORT:
        raise UserError(f"--coordinator={address}: a port is from 1 to {LARGEST_PORT}.")
    if number >= num:
        raise UserError(f"--process_id={number} must be below --num_processes={num}.")


@contextlib.contextmanager
def _said_if_long(address: str) -> Iterator[None]:
    """Says what a process waits for that waits for the others."""
    said = f"waiting up to {JOIN_SECONDS} s for all processes of --coordinator={address}"
    timer = threading.Timer(PATIENCE_SECONDS, lambda: print(said, file=sys.stderr))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _reach(address: str, number: int) -> None:
    """Until process 0 listens there, or can; JAX would not say why not, in the end.

    Raises:
      OSError, UnicodeError: it does not, or there is no such address.
    """
    host, _, port = address.rpartition(":")
    place = host.strip("[]"), int(port)
    if number == 0:
        socket.getaddrinfo(*place)
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        socket.create_server(("", place[1]), family=family, dualstack_ipv6=both).close()
        return
    by = time.monotonic() + JOIN_SECONDS
    while True:
        try:
            socket.create_connection(place, timeout=PATIENCE_SECONDS).close()
            return
        except OSError:
            if time.monotonic() > by:
                raise
            time.sleep(0.2)


@contextlib.contextmanager
def _abort_says(why: Callable[[], str]) -> Iterator[None]:
    """JAX aborts, with a stack trace, where processes do not join; here one line is said instead.

    After the block, it aborts where another process is lost.
    """
    joined = threading.Event()

    def aborted(_):
        processes.end(f"error: {processes.lost() if joined.is_set() else why()}")

    _on_abort.append(ctypes.CFUNCTYPE(None, ctypes.c_int)(aborted))
    ctypes.CDLL(None).signal(int(signal.SIGABRT), _on_abort[-1])
    yield
    joined.set()


def _cannot_join(address: str, said: str) -> str:
    return f"--coordinator={address}: the processes cannot join: {said.rstrip('.')}."


def _reason(log: Path) -> str:
    """That of JAX, by what it printed."""
    found = re.findall(r"absl::Status: ([^\[\n]*)", log.read_text(errors="replace"))
    said = found[-1].strip() if found else "JAX's runtime has ended"
    if said.startswith("DEADLINE_EXCEEDED"):
        said = f"not all were here after {JOIN_SECONDS} s"
    return "; ".join([said, *processes.about_runtime()])


def _refuse_different_flags() -> None:
    """Flags that are not of a machine are the same in all processes, or all refuse them.

    Raises:
      SharedError: they differ.
    """
    joined, values = distributed.global_state, flags.FLAGS
    store: Any = joined.client
    given = [name for name in values if values[name].present and name not in OF_A_MACHINE]
    own = json.dumps({name: _said(values[name].value) for name in given})

    with processes.lost_if_it_fails():
        store.key_value_set(f"flags/{joined.process_id}", own)
        store.wait_at_barrier("flags", TIMEOUT_MS)
        found = {
            int(key.split("/")[-1]): json.loads(of) for key, of in store.key_value_dir_get("flags/")
        }
    for number in sorted(found):
        _refuse_difference(found[0], found[number], number)


def _refuse_difference(first: dict[str, str], other: dict[str, str], number: int) -> None:
    """Compares the flags that are given to process 0 and to another one."""
    for name in sorted({*first, *other}):
        default = _said(flags.FLAGS[name].default)
        one, two = first.get(name, default), other.get(name, default)
        if one != two:
            raise processes.SharedError(
                f"--{name} is {one} in process 0 and {two} in process {number}; give all "
                "processes the same."
            )


def _said(value: Any) -> str:
    return "not given" if value is None else str(value)
