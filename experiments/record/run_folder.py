"""What a run leaves in its folder: config.json, metrics.jsonl, and checkpoints."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from experiments.record import checkpoints, processes
from experiments.record.environment import environment
from experiments.record.errors import UserError
from experiments.record.files import read_object, replace

CONFIG, METRICS, CHECKPOINTS, LOCK = "config.json", "metrics.jsonl", "checkpoints", "lock"
JAX_CONFIG = ("jax_enable_x64", "jax_default_matmul_precision", "jax_default_prng_impl")


def begin(workdir: Path, config: dict[str, Any], may_grow: Sequence[str] = ()) -> None:
    """Writes config.json, or makes sure that the folder holds a run of the same settings.

    Args:
      workdir: the folder, which `alone` has made.
      config: JSON-like settings; `environment()` is written beside them and not compared.
      may_grow: names of those that may be larger than before, which are integers.

    Raises:
      UserError: it cannot be written, or holds a run with other settings.
    """
    path = workdir / CONFIG
    config = config | {"jax_config": {name: getattr(jax.config, name) for name in JAX_CONFIG}}
    with _usable(workdir):
        if not path.exists():
            for other in (METRICS, CHECKPOINTS):
                if (workdir / other).exists():
                    raise UserError(
                        f"{workdir} holds {other} without {CONFIG}; name another folder."
                    )
            replace(path, json.dumps(config | environment(), indent=2) + "\n")
            return
        found = read_object(path, dict.fromkeys(may_grow, int))
    grown = {name: config[name] for name in may_grow if config[name] > found[name]}
    _check_same(workdir, found | grown, config)
    if grown:
        replace(path, json.dumps(found | grown, indent=2) + "\n")


@contextlib.contextmanager
def _usable(workdir):
    """Says what is wrong with a folder in which the block fails."""
    if not _is_text(str(workdir)):  # Orbax cannot write there
        raise UserError(f"--workdir={workdir} has bytes that are no UTF-8; name another folder.")
    try:
        yield
    except FileExistsError:
        what = "a link that leads nowhere" if workdir.is_symlink() else "a file"
        raise UserError(f"--workdir={workdir} is {what}; name a folder.") from None
    except OSError as error:
        raise UserError(
            f"--workdir={workdir} cannot be used: {error.strerror}; name another."
        ) from None
    except ValueError as error:
        raise UserError(
            f"{workdir / CONFIG} is damaged ({error}); mend it, or name another --workdir."
        ) from None


def _check_same(workdir, found, config):
    kept = _flat(found)
    for name, value in _flat(config).items():
        if kept.get(name) != value:
            raise UserError(
                f"--workdir={workdir} holds a run with {name} {kept.get(name)}, not {value}; "
                "name another."
            )


def _is_text(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    """Nested settings by names with dots."""
    found = {}
    for name, value in config.items():
        inner = _flat(value) if isinstance(value, dict) else {"": value}
        found |= {f"{name}.{key}".rstrip("."): each for key, each in inner.items()}
    return found


def save(workdir: Path, step: int, tree: Any, epochs: list[dict[str, Any]]) -> None:
    """Keeps the state after so many steps and the metrics of all epochs, in one checkpoint.

    metrics.jsonl is written from it, so the two cannot disagree for longer than that takes.

    Raises:
      UserError: it cannot be written.
    """
    loss = epochs[-1]["valid_loss"] if epochs else None
    checkpoints.save(workdir / CHECKPOINTS, step, tree, {"epochs": epochs}, loss)
    write_metrics(workdir, epochs)


def restore(workdir: Path, like: Any) -> tuple[Any, list[dict[str, Any]]]:
    """The state and the metrics that were saved last; `like` and no metrics where none were.

    metrics.jsonl is written again from the checkpoint, the newest that is not damaged.

    Raises:
      UserError: all checkpoints are damaged, or none is there beside a metrics.jsonl.
    """
    found = checkpoints.restore(workdir / CHECKPOINTS, like)
    if found is None:
        if (workdir / METRICS).exists():
            raise UserError(
                f"{workdir} holds {METRICS} without a checkpoint; name another --workdir."
            )
        return like, []
    state, about = found
    write_metrics(workdir, about["epochs"])
    return state, about["epochs"]


def config(workdir: Path, kinds: Mapping[str, Any]) -> dict[str, Any]:
    """What `begin` wrote.

    Args:
      workdir: the folder.
      kinds: of what is asked for, as in `read_object`.

    Raises:
      UserError: there is no run, or it is damaged.
    """
    path = workdir / CONFIG
    try:
        return read_object(path, kinds)
    except OSError as error:
        raise UserError(f"{workdir} holds no run: {CONFIG}: {error.strerror}.") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged, or of another version ({error}).") from None


def saved(workdir: Path) -> dict[str, Any] | None:
    """The state that was saved last, its named tuples as dicts; None where none was.

    Nothing is written.

    Raises:
      UserError: all checkpoints are damaged.
    """
    found = checkpoints.read(workdir / CHECKPOINTS)
    return None if found is None else found[0]


@contextlib.contextmanager
def alone(workdir: Path) -> Iterator[None]:
    """Makes a folder and locks it against other runs, until the block or the process ends.

    Raises:
      UserError: another process holds it, or it cannot be used.
    """
    if not processes.is_first():  # for the others too
        yield
        return
    with _usable(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
    with _opened_lock(workdir, os.O_RDWR | os.O_CREAT) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another process runs in --workdir={workdir}.") from None
        yield


@contextlib.contextmanager
def still(workdir: Path) -> Iterator[None]:
    """For reading: makes sure that no process goes on in a folder, until the block ends.

    Raises:
      UserError: there is no run, or a process holds it.
    """
    if not (workdir / LOCK).exists():
        raise UserError(f"{workdir} holds no run that has begun.")
    with _opened_lock(workdir, os.O_RDONLY) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"the run in {workdir} goes on; wait for its end.") from None
        yield


@contextlib.contextmanager
def _opened_lock(workdir: Path, flags: int) -> Iterator[int]:
    """The lock's file, which is not followed where it is a link, and never emptied."""
    try:
        lock = os.open(workdir / LOCK, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        said = "it is a link" if (workdir / LOCK).is_symlink() else error.strerror
        raise UserError(
            f"{workdir / LOCK} cannot be opened: {said}; name another folder."
        ) from None
    try:
        yield lock
    finally:
        os.close(lock)


def write_metrics(workdir: Path, lines: list[dict[str, Any]]) -> None:
    """Writes metrics.jsonl: a line for each epoch, and for the result of a finished run.

    Raises:
      UserError: it cannot be written.
    """
    text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
    if processes.is_first():
        replace(workdir / METRICS, text)


def epochs(workdir: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl that tell of an epoch."""
    lines = (workdir / METRICS).read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, lines) if "epoch" in line]
