"""Fetches the Penn Treebank in Mikolov's preparation and checks it.

  python -m experiments.download_ptb

The text is under the Linguistic Data Consortium's licence: fetch it if you may use it. The archive
is 34 MB; the three files that are kept are 6 MB.
"""

import hashlib
import http.client
import os
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

HOST = "http://www.fit.vutbr.cz/~imikolov/rnnlm/"
TIMEOUT = 60.0  # seconds without a byte
CHUNK = 1 << 20

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
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as scratch:
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


def _fetch(url, archive):
    """Copies what `url` holds to a file, whole."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response, open(archive, "wb") as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
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
        with tarfile.open(archive, "r:gz") as tar:
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


def main():
    folder = Path(flags.FLAGS.to).expanduser() if flags.FLAGS.to else files.cache_dir() / "ptb"
    for path in download(flags.FLAGS.url, folder).values():
        print(path)


if __name__ == "__main__":
    launch.run(main)
