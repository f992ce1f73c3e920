"""Tokens in a file: written as they come, read a slice at a time."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.lib import format as npy


class TokenFile:
    """The tokens of an .npy file, [tokens], of which only slices are ever in memory."""

    def __init__(self, path: Path):
        tokens = np.load(path, mmap_mode="r")
        self._path, self._dtype, self._length = path, tokens.dtype, len(tokens)
        self._offset = path.stat().st_size - tokens.nbytes

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: slice) -> np.ndarray:
        # Not a view of a map, whose pages would count as memory of this process.
        start, stop, _ = index.indices(self._length)
        offset = self._offset + start * self._dtype.itemsize
        return np.fromfile(self._path, self._dtype, max(0, stop - start), offset=offset)


def write(path: Path, pieces: Iterable[np.ndarray], dtype: np.dtype) -> None:
    """Writes pieces of tokens, one after the other, as one .npy file."""
    length = 0
    with open(path, "wb") as file:
        _write_header(file, dtype, length)
        for piece in pieces:
            file.write(piece.astype(dtype, copy=False).tobytes())
            length += len(piece)
        file.seek(0)
        _write_header(file, dtype, length)


def _write_header(file, dtype, length):
    """NumPy's header, which it pads so that another length takes the same space."""
    content = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": (length,)}
    npy.write_array_header_1_0(file, content)
