"""How a command runs: under absl's and JAX's flags, keeping compiled programs."""

import contextlib
import functools
import io
import math
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import jax
from absl import app, flags, logging

from experiments.record import interrupts, joining, processes
from experiments.record.environment import environment
from experiments.record.errors import UserError
from experiments.record.files import cache_dir, private_folder

PACKAGES = ("experiments", "benchmarks")
LARGEST = {int: 2**31 - 1, float: 3.4e38}  # of a flag, as JAX has numbers


def run(main: Callable[[], None], num_cores: int | None = None) -> None:
    """Runs a command under absl's and JAX's own flags; a user's error ends in one line.

    So do Ctrl-C and SIGTERM, with what the KeyboardInterrupt says, where the command says
    something, and the end of the program that reads the output. A command's module may have
    `DEFAULTS`, its own default values of flags that it shares.

    Args:
      main: the command.
      num_cores: on how many it and the processes that it starts are kept, where the system can; all
        if None.
    """
    for name, value in getattr(sys.modules[main.__module__], "DEFAULTS", {}).items():
        flags.FLAGS.set_default(name, value)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may hold any bytes
    logging.set_verbosity(logging.WARNING)
    jax.config.config_with_absl()
    app.run(
        processes.ending_together()(functools.partial(_guarded, main, num_cores)),
        flags_parser=functools.partial(_parse, main.__module__),
    )


def _guarded(main, num_cores, argv):
    """The command; whatever ends it is said in one line."""
    if len(argv) > 1:
        sys.exit(f"error: unexpected argument {argv[1]!r}; every option starts with --.")
    try:
        _check_flags(main.__module__)
        _keep_compiled_programs()
        joining.start()
        _keep_on_cores(num_cores)
        _find_device()
        environment()  # now: the checkout may change while the main works
        with (
            processes.lost_if_it_fails(),
            interrupts.noted() if processes.are_several() else interrupts.raised(),
        ):
            main()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _end("stopped: nothing reads the output; what was written stays.", 128 + signal.SIGPIPE)
    except processes.SharedError as error:
        _stop(f"error: {error}", 1)
    except (UserError, processes.LostError, OSError) as error:
        _end(f"error: {error}")
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        if _is_out_of_memory(error):
            _end(f"error: out of memory; smaller sizes may fit ({_first_line(error)}).")
        raise
    except KeyboardInterrupt as stop:
        said = f"interrupted; {str(stop) or 'what was written stays.'}"
        _stop(said, interrupts.exit_code(stop))


def _parse(module: str, argv: list[str]) -> list[str]:
    """The parser of absl; `--help` states this command's flags alone and is no failure."""
    if not {"--help", "-help", "-h", "--helpshort"}.isdisjoint(argv[1:]):
        print((sys.modules[module].__doc__ or "").strip(), "\n\nflags:")
        print("\n".join(flags.FLAGS.module_help(_key_module(module)).splitlines()[2:]))
        sys.exit(0)
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        said = " ".join(str(error).split()).rstrip(".")
        sys.exit(f"error: {said}; see --help.")


def _key_module(module: str) -> str:
    """The name under which absl knows a command's flags."""
    return sys.argv[0] if module == "__main__" else module


def _check_flags(module: str):
    """Refuses flags of other commands, names that are empty and numbers that are not finite."""
    values = flags.FLAGS
    key = {flag.name for flag in values.get_key_flags_for_module(_key_module(module))}
    for flag in values.flag_values_dict():
        owner = str(values.find_module_defining_flag(flag))
        if values[flag].present and owner.startswith(PACKAGES) and flag not in key:
            raise UserError(f"--{flag} is not a flag of this command; see --help.")
        value = values[flag].value
        if flag in key and value == "":
            raise UserError(f"--{flag}= is empty; leave it out, or give it a value.")
        if flag in key and isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"--{flag}={value} must be a finite number.")
        largest = LARGEST.get(type(value), math.inf)
        if flag in key and isinstance(value, int | float) and abs(value) > largest:
            raise UserError(f"--{flag}={value} is beyond {largest}.")


def _end(said: str, code: int = 1) -> NoReturn:
    _say_last(said, code)
    sys.exit(code)


def _stop(said: str, code: int) -> NoReturn:
    """Leaves the other processes and ends at once.

    XLA may still compile in a thread, and would crash where the interpreter ends as usual.
    """
    _say_last(said, code)
    processes.leave()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(code)


def _say_last(said: str, code: int) -> None:
    """Says why, as the last line: what threads would add while they end is no help."""
    if processes.are_several():
        processes.say_last(said, code)
    else:
        print(said, file=sys.stderr, flush=True)
    logging.set_verbosity(logging.FATAL)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def _keep_compiled_programs():
    """JAX's persistent compilation cache, unless one of its own flags says otherwise."""
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    folder = cache_dir() / "compiled"
    try:
        private_folder(folder)
    except OSError as error:
        said = error.strerror or error
        print(f"warning: compiled programs are not kept: {folder}: {said}.", file=sys.stderr)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    warnings.showwarning = functools.partial(_drop_damaged_program, folder, warnings.showwarning)


def _drop_damaged_program(folder: Path, show: Callable, message, *args, **kwargs) -> None:
    """JAX warns of an entry that it cannot read, and compiles; it writes none that is there."""
    found = re.match(r"Error reading persistent compilation cache entry for '(.*?)'", str(message))
    if found is None:
        show(message, *args, **kwargs)
        return
    for entry in folder.glob(f"{found[1]}-*"):
        entry.unlink(missing_ok=True)


def _keep_on_cores(num_cores):
    """Moves the threads that libraries have started; JAX's come later and stay where they start."""
    if num_cores is None or not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))[:num_cores]
    threads = Path("/proc/self/task")
    for thread in [0] + [int(entry.name) for entry in threads.glob("*")]:
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.sched_setaffinity(thread, cores)


def _find_device():
    try:
        jax.devices()
    except Exception as error:
        said = _first_line(error)
        raise UserError(f"JAX finds no device, see --jax_platforms: {said}.") from error


def _is_out_of_memory(error: Exception) -> bool:
    said = str(error).lower()
    return isinstance(error, MemoryError) or "resource_exhausted" in said or "out of memory" in said


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
