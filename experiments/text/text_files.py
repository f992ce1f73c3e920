"""UTF-8 files as streams of text, whatever their size, and the cutting of one file into parts."""

import codecs
import hashlib
import io
import itertools
import os
import re
import stat
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tqdm import tqdm

from experiments.record.errors import UserError

PIECE_BYTES = 1 << 20
SEARCHED = 1 << 20  # bytes, for a line end
LINE_END = re.compile(rb"\r\n?|\n")
WHITE_SPACE = re.compile(rb"\s")
CHARACTER_END = re.compile(rb"(?s).(?![\x80-\xbf])")


class Part(NamedTuple):
    """A range of a file's bytes, and the file's state when it was named."""

    path: Path
    start: int
    stop: int
    size_and_time: tuple[int, int]  # of the whole file, the time in ns

    def pieces(self, purpose: str) -> Iterator[str]:
        r"""The text piece by piece: without byte order mark, with \n for \r\n and \r.

        `purpose` is the caption of a progress bar, which shows after a second.

        Raises:
          UserError: bytes are not UTF-8, or the file was changed.
        """
        newlines = io.IncrementalNewlineDecoder(None, translate=True)
        with (
            _open(self.path) as file,
            tqdm(
                total=self.stop - self.start,
                desc=f"{purpose} {self.path.name}",
                unit="B",
                unit_scale=True,
                leave=False,
                delay=1.0,
                disable=None,
            ) as bar,
        ):
            self._check_unchanged(file)
            for text, num_bytes in _decoded(file, self):
                yield newlines.decode(text)
                bar.update(num_bytes)
            yield newlines.decode("", final=True)
            self._check_unchanged(file)

    def _check_unchanged(self, file):
        if _size_and_time(file) != self.size_and_time:
            raise UserError(f"{self.path} was changed while it was read; start again.")


def whole(path: Path) -> Part:
    """All of a file.

    Raises:
      UserError: there is no such file, or it is not a regular one.
    """
    with _open(path) as file:
        size, changed = _size_and_time(file)
    return Part(path, 0, size, (size, changed))


def split(path: Path, percent: list[Fraction]) -> list[Part]:
    """Cuts a file into parts at the first line start at or after each share of its bytes.

    A text without lines is cut at white space.

    Args:
      path: the file.
      percent: shares in the order of the file; they sum to 100.

    Raises:
      UserError: as `whole` does, or a part is empty.
    """
    everything = whole(path)
    if everything.stop == 0:
        raise UserError(f"{path} is empty.")
    bounds, share = [0], Fraction()
    with _open(path) as file:
        for each in percent:
            share += each / 100
            bounds.append(_line_start(file, int(share * everything.stop), everything.stop))
    parts = [everything._replace(start=a, stop=b) for a, b in itertools.pairwise(bounds)]
    if not all(part.start < part.stop for part in parts):
        raise UserError(f"{path} is too short to be split; give three files by --data_dir.")
    return parts


def digest(pieces: Iterable[str]) -> tuple[str, int]:
    """The md5 of a text in UTF-8, and its number of bytes."""
    md5, num_bytes = hashlib.md5(usedforsecurity=False), 0
    for piece in pieces:
        encoded = piece.encode()
        md5.update(encoded)
        num_bytes += len(encoded)
    return md5.hexdigest(), num_bytes


def _line_start(file: BinaryIO, position: int, size: int) -> int:
    """The first line start at or after a position, or the file's end.

    Where the next `SEARCHED` bytes have no line end, the place after the next white space; without
    any, that of the next character.
    """
    if position == 0:
        return 0
    file.seek(position - 1)
    piece = file.read(SEARCHED + 1)
    if piece.endswith(b"\r"):
        piece += file.read(1)
    for end in (LINE_END, WHITE_SPACE, CHARACTER_END):
        found = end.search(piece)
        if found:
            return position - 1 + found.end()
    return size


def _decoded(file: BinaryIO, part: Part) -> Iterator[tuple[str, int]]:
    """The range's text as it stands, and how many bytes were read for it."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    file.seek(part.start)
    if part.start == 0 and file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
        file.seek(0)
    while True:
        at, pending = file.tell(), len(decoder.getstate()[0])
        piece = file.read(min(PIECE_BYTES, part.stop - at))
        try:
            yield decoder.decode(piece, final=not piece), len(piece)
        except UnicodeDecodeError as error:
            offset, byte = at - pending + error.start, error.object[error.start]
            raise UserError(
                f"{part.path} is not UTF-8: byte {offset:,} is 0x{byte:02x}; convert the file, "
                "for example by `iconv -f ENCODING -t UTF-8`."
            ) from None
        if not piece:
            return


def _open(path: Path) -> BinaryIO:
    """Opens a regular file; opening a pipe would wait for its writer."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise UserError(f"{path} is a folder, not a text file.")
        if not stat.S_ISREG(mode):
            raise UserError(f"{path} is a pipe or a device; write its text to a file first.")
        return open(path, "rb")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None


def _size_and_time(file: BinaryIO) -> tuple[int, int]:
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns
