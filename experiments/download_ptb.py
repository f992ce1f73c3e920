"""Fetches the Penn Treebank in Mikolov's preparation and checks it.

  python -m experiments.download_ptb

The text is under the Linguistic Data Consortium's licence: fetch it if you may use it. The archive
is 34 MB; the three files that are kept are 6 MB.
"""

import contextlib
import fcntl
import gzip
import hashlib
import http.client
import io
import os
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from pathlib import Path

from absl import flags

from experiments.record import files, launch
from experiments.record.errors import UserError
from experiments.text import data

HOST = "https://www.fit.vutbr.cz/~imikolov/rnnlm/"
TIMEOUT = 60.0  # seconds without a byte
CHUNK = 1 << 20
LARGEST_ARCHIVE, LARGEST_CONTENT = 100 << 20, 500 << 20  # bytes: the real ones have 34 and 160 MB
SCRATCH = ".download-"

flags.DEFINE_string("url", HOST + "simple-examples.tgz", "Where the archive is.")
flags.DEFINE_string("to", None, "Folder for the three files; default the user's cache folder.")


def download(url: str, folder: Path) -> dict[str, Path]:
    """Puts ptb.train.txt, ptb.valid.txt and ptb.test.txt into `folder` once all three are right.

    Raises:
      UserError: the download failed or stopped early, or is not the Penn Treebank by md5.
    """
    paths = {split: folder / f"ptb.{split}.txt" for split in data.SPLITS}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder), tempfile.TemporaryDirectory(prefix=SCRATCH, dir=folder) as scratch:
            archive = Path(scratch) / "archive.tgz"
            _fetch(url, archive)
            texts = _checked_texts(archive, url)
            for split, text in texts.items():
                (Path(scratch) / split).write_bytes(text)
            for split, path in paths.items():
                os.replace(Path(scratch) / split, path)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}.") from error
    return paths


@contextlib.contextmanager
def _alone(folder):
    """Holds other downloads off, and removes what a killed one has left."""
    held = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another process downloads to {folder}.") from None
        for left in folder.glob(f"{SCRATCH}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        os.close(held)


def _fetch(url, archive):
    """Copies what `url` holds to a file, whole."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response, open(archive, "wb") as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                if file.tell() > LARGEST_ARCHIVE:
                    raise UserError(f"{url} is larger than {LARGEST_ARCHIVE >> 20} MiB.")
            expected = int(response.headers.get("Content-Length", file.tell()))
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        said = " ".join(str(error).split())
        raise UserError(f"the download of {url} failed: {said}.") from error
    size = archive.stat().st_size
    if size != expected:
        raise UserError(f"the download of {url} stopped after {size:,} of {expected:,} bytes.")


def _checked_texts(archive, url):
    """The three texts of the archive, by split."""
    texts = {}
    try:
        with (
            gzip.open(archive) as content,
            tarfile.open(fileobj=_Limited(content), mode="r:") as tar,
        ):
            for member in tar:
                folder, _, name = member.name.rpartition("/data/")
                for split in data.SPLITS:
                    wanted = folder and name == f"ptb.{split}.txt" and member.isfile()
                    if wanted and (file := tar.extractfile(member)):
                        texts[split] = file.read()
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise UserError(f"{url} holds no whole archive: {error}.") from error
    for split in data.SPLITS:
        if split not in texts:
            raise UserError(f"{url} holds no ptb.{split}.txt.")
        if hashlib.md5(texts[split], usedforsecurity=False).hexdigest() != data.PTB_MD5[split]:
            raise UserError(f"ptb.{split}.txt of {url} is not the Penn Treebank: wrong md5.")
    return texts


class _Limited(io.RawIOBase):
    """A file that refuses to be read beyond `LARGEST_CONTENT`."""

    def __init__(self, file):
        self._file = file

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, *args):
        return self._checked(self._file.seek(*args))

    def tell(self):
        return self._file.tell()

    def readinto(self, buffer):
        num = self._file.readinto(buffer)
        self._checked(self._file.tell())
        return num

    def _checked(self, position):
        if position > LARGEST_CONTENT:
            raise tarfile.TarError(f"it unpacks to more than {LARGEST_CONTENT >> 20} MiB")
        return position


def main():
    folder = files.user_path(flags.FLAGS.to) if flags.FLAGS.to else files.cache_dir() / "ptb"
    for path in download(flags.FLAGS.url, folder).values():
        print(path)


if __name__ == "__main__":
    launch.run(main)
