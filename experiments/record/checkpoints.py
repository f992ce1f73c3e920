"""Checkpoints with checksums: a damaged one is set aside, and the one before it is restored.

A checkpoint is a folder with a number for its name, as Orbax writes it. It counts once its
checksums.json is there, which is written last and removed first.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from experiments.record import processes
from experiments.record.errors import UserError
from experiments.record.files import read_object, write_whole

NUM_NEWEST = 2  # that are kept, beside the best
CHECKSUMS = "checksums.json"
WRITTEN = {"loss": float | None, "files": dict}  # in it
NUMBER = re.compile(r"0|[1-9][0-9]*")
UNFINISHED = re.compile(rf"({NUMBER.pattern})(\.orbax-checkpoint-tmp)?")
OS_ERROR = re.compile(r"os_error_code='(\d+)'")


def save(folder: Path, step: int, state: Any, about: dict[str, Any], loss: float | None) -> None:
    """Keeps arrays and what is told about them as one; older ones go, but for the best.

    An older one whose checksums.json is damaged is set aside, as in `restore`.

    Args:
      folder: of the checkpoints.
      step: a number above those of all others, or that of the newest, which is then left as it is.
      state: a pytree of arrays.
      about: JSON-like.
      loss: the lowest is the best; None where there is none yet.

    Raises:
      UserError: it cannot be written; those that were there before are whole.
    """
    items = {
        "state": ocp.args.StandardSave(_without_empty(state)),
        "about": ocp.args.JsonSave(about),
    }
    if (folder / str(step) / CHECKSUMS).exists():
        return
    try:
        _remove_unfinished(folder)
        with _without_tracebacks(), _manager(folder, create=True) as manager:
            manager.save(step, args=ocp.args.Composite(**items))
        if processes.is_first():
            sums = {"loss": loss, "files": _sums(folder / str(step))}
            write_whole(folder / str(step) / CHECKSUMS, json.dumps(sums))
    except Exception as error:
        if not _is_of_disk(error):  # another process may have ended
            raise
        raise UserError(
            f"the state cannot be written to {folder} ({reason(error)}); the one before is kept. "
            "Once it can be written, the same command and --workdir go on."
        ) from error
    processes.wait("saved")
    if processes.is_first():
        _keep_few(folder)


def restore(folder: Path, like: Any) -> tuple[Any, dict[str, Any]] | None:
    """The newest whole state, and what was told about it; None where nothing was saved.

    Newer ones that are damaged are set aside, into damaged-checkpoint-N beside `folder`.

    Args:
      folder: of the checkpoints.
      like: the state's structure, shapes and dtypes.

    Raises:
      UserError: all are damaged.
    """
    _remove_unfinished(folder)
    found, damaged = _newest_whole(folder, like)
    processes.wait("restored")
    for step, why in damaged.items() if processes.is_first() else []:
        _set_aside(folder / str(step), why)
    return found


def read(folder: Path) -> tuple[Any, dict[str, Any]] | None:
    """As `restore`, in NumPy's arrays, with named tuples as dicts; nothing is written.

    Raises:
      UserError: all are damaged.
    """
    return _newest_whole(folder, None)[0]


def reason(error: BaseException) -> str:
    """What went wrong, in a few words of one line."""
    said = getattr(error, "strerror", None) or (str(error).splitlines() or [""])[0]
    code = OS_ERROR.search(str(error))  # TensorStore's, after the names of long files
    if code:
        return os.strerror(int(code[1]))
    return " ".join(f"{type(error).__name__}: {said}".split())[:160]


def _newest_whole(folder, like):
    """State and what was told about it, or None; and why the newer ones are damaged, by number."""
    damaged = {}
    for step in _steps(folder):
        try:
            written = read_object(folder / str(step) / CHECKSUMS, WRITTEN)
            if written["files"] != _sums(folder / str(step)):
                raise ValueError("a checksum is wrong")
            wanted = _saved_shapes(folder / str(step)) if like is None else _without_empty(like)
            items = {
                "state": ocp.args.StandardRestore(wanted),
                "about": ocp.args.JsonRestore(),
            }
            with _manager(folder) as manager:  # not left open: Orbax ends badly
                found = manager.restore(step, args=ocp.args.Composite(**items))
            return (_with_empty(found["state"], like), dict(found["about"])), damaged
        except Exception as error:  # whatever damaged files lead to
            processes.wait("damaged")  # fails where another process has ended
            damaged[step] = reason(error)
    if damaged:
        raise UserError(
            f"no checkpoint in {folder} is whole: {damaged[max(damaged)]}. The losses in "
            f"{folder.parent} are kept; name another --workdir."
        )
    return None, {}


def _saved_shapes(checkpoint: Path) -> Any:
    """Arrays as they were saved, but none on devices, of which there may be others now."""
    path: Any = checkpoint.absolute() / "state"
    saved: Any = ocp.StandardCheckpointHandler().metadata(path)
    return jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), dict(saved))


def _without_empty(state: Any) -> Any:
    """With None for arrays without entries, which Orbax does not save."""
    return jax.tree.map(lambda leaf: leaf if leaf.size else None, state)


def _with_empty(state: Any, like: Any) -> Any:
    """With such arrays again."""
    if like is None:
        return state
    fill = lambda leaf, like: like if leaf is None else leaf
    return jax.tree.map(fill, state, like, is_leaf=lambda leaf: leaf is None)


def _steps(folder: Path) -> list[int]:
    """The finished ones, from the newest to the oldest."""
    finished = [path.parent.name for path in folder.glob(f"*/{CHECKSUMS}")]
    return sorted((int(name) for name in finished if NUMBER.fullmatch(name)), reverse=True)


def _sums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file, by its name."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name != CHECKSUMS
    }


def _keep_few(folder: Path) -> None:
    """Removes all but the newest and the best, and sets aside those without a readable loss."""
    losses = {}
    for step in _steps(folder):
        try:
            losses[step] = read_object(folder / str(step) / CHECKSUMS, WRITTEN)["loss"]
        except (OSError, ValueError) as error:
            _set_aside(folder / str(step), reason(error))
    known = [(loss, step) for step, loss in losses.items() if loss is not None]
    best = min(known)[1] if known else None
    for step in [*losses][NUM_NEWEST:]:
        if step != best:
            _remove(folder / str(step))


def _remove(checkpoint: Path) -> None:
    try:
        (checkpoint / CHECKSUMS).unlink()
        shutil.rmtree(checkpoint)
    except OSError as error:
        print(f"warning: {checkpoint} cannot be removed ({error.strerror}).", file=sys.stderr)


def _set_aside(checkpoint: Path, why: str) -> None:
    """Moves a damaged one out of the folder, and says so."""
    aside = checkpoint.parent.with_name(f"damaged-checkpoint-{checkpoint.name}")
    print(f"warning: {checkpoint} is damaged ({why}); now {aside}.", file=sys.stderr)
    shutil.rmtree(aside, ignore_errors=True)
    checkpoint.rename(aside)


def _remove_unfinished(folder: Path) -> None:
    """What a save or a removal has left that failed or was killed."""
    for path in folder.iterdir() if processes.is_first() and folder.is_dir() else []:
        if UNFINISHED.fullmatch(path.name) and not (path / CHECKSUMS).exists():
            shutil.rmtree(path, ignore_errors=True)
    processes.wait("removed unfinished")


def _is_of_disk(error: Exception) -> bool:
    """Whether the file system refused something, by way of Orbax or TensorStore."""
    return isinstance(error, OSError) or OS_ERROR.search(str(error)) is not None


@contextlib.contextmanager
def _without_tracebacks() -> Iterator[None]:
    """Orbax's threads print those of errors that it raises too, up to a moment later."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            try:
                yield
            except Exception:
                time.sleep(1.0)
                raise
    finally:
        logging.set_verbosity(verbosity)


@contextlib.contextmanager
def _manager(folder: Path, *, create: bool = False) -> Iterator[ocp.CheckpointManager]:
    """Whose saves are whole when they return."""
    options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False, create=create)
    with ocp.CheckpointManager(folder.absolute(), options=options) as manager:
        yield manager
