"""Folders in the user's cache that are made once, whole or not at all."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from experiments.record.errors import UserError
from experiments.record.files import cache_dir


def folder(key: Any, build: Callable[[Path], None], is_whole: Callable[[Path], bool]) -> Path:
    """The folder of a key, which `build` fills if there is none, or one that is damaged.

    A process that asks for a folder while another makes it waits for it. What a process that was
    killed has left is removed by the next that makes this folder.

    Args:
      key: JSON-like; all that the folder's content depends on.
      build: writes the content into an empty folder, which is renamed when it returns.
      is_whole: whether a folder holds what `build` wrote.

    Raises:
      UserError: the cache cannot be written.
    """
    parent = cache_dir() / "tokens"
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    found = parent / name
    if is_whole(found):  # which needs no right to write
        return found
    with _writing(parent):
        parent.mkdir(parents=True, exist_ok=True)
        lock = open(parent / f"{name}.lock", "w")  # noqa: SIM115
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # ends with the block or the process
        if not is_whole(found):
            _make(found, build)
    return found


@contextlib.contextmanager
def _writing(parent: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"the cache {parent} cannot be written: {error.strerror or error}; set "
            "XDG_CACHE_HOME to another folder."
        ) from error


def _make(found: Path, build: Callable[[Path], None]) -> None:
    scratch = found.with_name(f"{found.name}.new")
    with _writing(found.parent):
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
    try:
        with _writing(found.parent):
            build(scratch)
            shutil.rmtree(found, ignore_errors=True)
            os.rename(scratch, found)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
