"""How a command runs: under absl's and JAX's flags, keeping compiled programs."""

import functools
import math
import sys
from collections.abc import Callable

import jax
from absl import app, flags, logging

from experiments.record.environment import environment
from experiments.record.errors import UserError
from experiments.record.files import cache_dir

PACKAGES = ("experiments", "benchmarks")
INTERRUPTED = 128 + 2  # the exit code of a shell's command that SIGINT has ended


def run(main: Callable[[], None]) -> None:
    """Runs a command under absl's and JAX's own flags; a user's error ends in one line.

    So does Ctrl-C, with what the KeyboardInterrupt says, where the command says something. A
    command's module may have `DEFAULTS`, its own default values of flags that it shares.
    """

    def guarded(argv):
        if len(argv) > 1:
            sys.exit(f"error: unexpected argument {argv[1]!r}; every option starts with --.")
        try:
            _check_flags(main.__module__)
            _keep_compiled_programs()
            _find_device()
            environment()  # now: the checkout may change while the main works
            main()
        except (UserError, OSError) as error:
            sys.exit(f"error: {error}")
        except (jax.errors.JaxRuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            sys.exit(f"error: out of memory; smaller sizes may fit ({_first_line(error)}).")
        except KeyboardInterrupt as stop:
            print(f"interrupted; {str(stop) or 'what was written stays.'}", file=sys.stderr)
            sys.exit(INTERRUPTED)

    for name, value in getattr(sys.modules[main.__module__], "DEFAULTS", {}).items():
        flags.FLAGS.set_default(name, value)
    logging.set_verbosity(logging.WARNING)
    jax.config.config_with_absl()
    app.run(guarded, flags_parser=functools.partial(_parse, main.__module__))


def _parse(module: str, argv: list[str]) -> list[str]:
    """The parser of absl; `--help` states this command's flags alone and is no failure."""
    if not {"--help", "-help", "-h", "--helpshort"}.isdisjoint(argv[1:]):
        print((sys.modules[module].__doc__ or "").strip(), "\n\nflags:")
        print("\n".join(flags.FLAGS.module_help(_key_module(module)).splitlines()[2:]))
        sys.exit(0)
    return app.parse_flags_with_usage(argv)


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


def _keep_compiled_programs():
    """JAX's persistent compilation cache, unless one of its own flags says otherwise."""
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


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
