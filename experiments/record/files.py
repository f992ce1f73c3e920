"""Files that are written whole or not at all, and the folders that they lie in."""

import contextlib
import errno
import itertools
import json
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.record.errors import UserError


def cache_dir() -> Path:
    """Where downloaded text, tokens and compiled programs are kept for this user."""
    if folder := os.environ.get("XDG_CACHE_HOME"):
        return Path(folder) / "tbptt_jax"
    try:
        return Path.home() / ".cache" / "tbptt_jax"
    except RuntimeError:  # a user without a home, as in a container
        return Path(tempfile.gettempdir()) / f"tbptt_jax-of-user-{os.getuid()}"


def private_folder(folder: Path) -> Path:
    """Makes a folder that this user alone may read and write, whatever the umask is.

    Raises:
      OSError: it cannot be made, or is another user's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


def user_path(name: str) -> Path:
    """A path as it was typed; ~ and ~user are home folders.

    Raises:
      UserError: there is no such user, or it is no path of this machine.
    """
    if re.match(r"[a-z][a-z0-9+.-]+://", name):
        raise UserError(f"{name} is an address; name a folder or file of this machine.")
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise UserError(f"{name} names a home folder that does not exist.") from None


def folder_of_flag(flag: str, name: str, inside: str = "") -> Path:
    """Makes the folder that a flag names; a wrong name ends a command before it has worked.

    Args:
      flag: the flag's name.
      name: its value.
      inside: a folder in that one, which is made and returned instead.

    Raises:
      UserError: it is a file, or cannot be made or written.
    """
    path = user_path(name) / inside
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise UserError(
            f"--{flag}={name} cannot be used: {error.strerror}; name another folder."
        ) from None


def new_folder(parent: Path, name: str) -> Path:
    """Makes a folder that no other run has: `name`, or `name` with a number.

    Raises:
      UserError: there is no right to write.
    """
    for number in itertools.count(1):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(
                f"{parent} cannot be written: {error.strerror}; name a --workdir."
            ) from None
    raise AssertionError


@contextlib.contextmanager
def removed_if_empty(folder: Path) -> Iterator[None]:
    """Does not leave an empty folder behind."""
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()


def read_json(path: Path, of_pairs: Callable[[list], Any] = dict) -> Any:
    """The content of a JSON file without nan and inf, which are no JSON.

    Args:
      path: the file.
      of_pairs: makes an object of the pairs of name and value.

    Raises:
      OSError: it cannot be read.
      ValueError: it is not such a file.
    """

    def refuse(name):
        raise ValueError(f"{path} holds {name}")

    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would wait for ever
        raise OSError(errno.EINVAL, f"{path.name} is a pipe or a device", str(path))
    text = path.read_text(encoding="utf-8")
    try:
        return json.loads(text, parse_constant=refuse, object_pairs_hook=of_pairs)
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None


def read_object(path: Path, kinds: Mapping[str, Any]) -> dict[str, Any]:
    """The object in a JSON file whose values are of the right kinds.

    Args:
      path: the file.
      kinds: by name the type of a value, or, for an object, the kinds of its values.

    Raises:
      OSError: it cannot be read.
      ValueError: it is not such a file.
    """
    found = read_json(path)
    _check_kind("the file", found, kinds)
    return found


def _check_kind(name, found, kind):
    if not isinstance(found, dict if isinstance(kind, Mapping) else kind):
        raise ValueError(f"{name} cannot be {found!r:.40}")
    for key, inner in kind.items() if isinstance(kind, Mapping) else []:
        if key not in found:
            raise ValueError(f"{key} is missing")
        _check_kind(key, found[key], inner)


def write_whole(path: Path, text: str) -> None:
    """Writes a file whole or not at all.

    Raises:
      OSError: it cannot be written.
    """
    scratch = path.with_name(f"{path.name}.{os.getpid()}.new")  # another process may write it too
    scratch.write_text(text, encoding="utf-8")
    os.replace(scratch, path)


def replace(path: Path, text: str) -> None:
    """As `write_whole`.

    Raises:
      UserError: it cannot be written.
    """
    try:
        write_whole(path, text)
    except OSError as error:
        named = error.filename2 or error.filename or path
        raise UserError(
            f"{named} cannot be written: {error.strerror}; mend that, or name another folder."
        ) from error
