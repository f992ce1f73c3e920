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


def folder(key: Any, build: Callable[[Path], None]) -> Path:
    """The folder of a key, which `build` fills if there is none.

    A process that asks for a folder while another makes it waits for it. What a process that was
    killed has left is removed by the next that makes this folder.

    Args:
      key: JSON-like; all that the folder's content depends on.
      build: writes the content into an empty folder, which is renamed when it returns.

    Raises:
      UserError: the cache cannot be written.
    """
    parent = cache_dir() / "tokens"
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    found = parent / name
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with _locked(parent / f"{name}.lock"):
            if not found.is_dir():
                _make(found, build)
    except OSError as error:
        raise UserError(
            f"the cache {parent} cannot be written: {error.strerror or error}; set "
            "XDG_CACHE_HOME to another folder."
        ) from error
    return found


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Waits for other processes; the lock ends with the block or the process."""
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(found: Path, build: Callable[[Path], None]) -> None:
    scratch = found.with_name(f"{found.name}.new")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        build(scratch)
        os.rename(scratch, found)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
