"""The download against a local server: all three files, or nothing."""

import hashlib
import http.server
import io
import tarfile
import threading

import pytest

from experiments import download_ptb
from experiments.record.errors import UserError
from experiments.text import data

TEXTS = {split: b"some words\n" * (5_000 + len(split)) for split in data.SPLITS}


def archive(texts, folder="./simple-examples/data"):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for split, text in texts.items():
            member = tarfile.TarInfo(f"{folder}/ptb.{split}.txt")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    return stream.getvalue()


def archive_of_dangling_links():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for split in data.SPLITS:
            member = tarfile.TarInfo(f"./simple-examples/data/ptb.{split}.txt")
            member.type, member.linkname = tarfile.SYMTYPE, "nowhere"
            tar.addfile(member)
    return stream.getvalue()


WHOLE = archive(TEXTS)
# path: (status, announced length, what is sent)
ANSWERS = {
    "/whole": (200, len(WHOLE), WHOLE),
    "/unannounced": (200, None, WHOLE),
    "/interrupted": (200, len(WHOLE), WHOLE[: len(WHOLE) // 2]),
    "/truncated": (200, None, WHOLE[: len(WHOLE) // 2]),
    "/wrong": (200, None, archive(TEXTS | {"valid": b"other words\n"})),
    "/page": (200, None, b"<html>this host has moved</html>"),
    "/empty": (200, 0, b""),
    "/lacking": (200, None, archive({"train": TEXTS["train"]})),
    "/elsewhere": (200, None, archive(TEXTS, folder="./other")),
    "/linked": (200, None, archive_of_dangling_links()),
    "/missing": (404, 0, b""),
    "/garbled": (200, "some", WHOLE),
}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, length, body = ANSWERS[self.path]
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    md5 = {split: hashlib.md5(text).hexdigest() for split, text in TEXTS.items()}
    monkeypatch.setattr(data, "PTB_MD5", md5)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("path", ["/whole", "/unannounced"])
def test_whole_download_is_found_by_the_reader(server, path, tmp_path):
    folder = tmp_path / "new" / "ptb"
    download_ptb.download(server + path, folder)
    assert data.read_corpus("ptb", folder).name == "Penn Treebank"
    assert sorted(p.name for p in folder.iterdir()) == sorted(f"ptb.{s}.txt" for s in data.SPLITS)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/interrupted", "stopped after"),
        ("/truncated", "no whole archive"),
        ("/wrong", "wrong md5"),
        ("/page", "no whole archive"),
        ("/empty", "no whole archive"),
        ("/lacking", "no ptb.valid.txt"),
        ("/elsewhere", "no ptb.train.txt"),
        ("/linked", "no ptb.train.txt"),
        ("/missing", "404"),
        ("/garbled", "failed"),
    ],
)
def test_bad_download_leaves_nothing_and_spares_what_was_there(server, path, said, tmp_path):
    earlier = tmp_path / "ptb.train.txt"
    earlier.write_text("earlier")
    with pytest.raises(UserError, match=said) as error:
        download_ptb.download(server + path, tmp_path)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == [earlier] and earlier.read_text() == "earlier"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/nobody", "no address", "file:///nowhere"])
def test_unreachable_address_is_refused(url, tmp_path):
    with pytest.raises(UserError, match="the download of"):
        download_ptb.download(url, tmp_path)
    assert not list(tmp_path.iterdir())


def test_folder_that_is_a_file_is_refused(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to"):
        download_ptb.download(server + "/whole", tmp_path / "file")


@pytest.mark.parametrize("name", ["LARGEST_ARCHIVE", "LARGEST_CONTENT"])
def test_downloads_that_would_fill_the_disk_or_memory_are_refused(
    server, name, tmp_path, monkeypatch
):
    monkeypatch.setattr(download_ptb, name, 20_000 if name == "LARGEST_CONTENT" else 100)
    with pytest.raises(UserError, match=r"larger than 0 MiB|unpacks to more than 0 MiB"):
        download_ptb.download(server + "/whole", tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_download_has_left_is_removed_by_the_next(server, tmp_path):
    (tmp_path / ".download-abc").mkdir()
    (tmp_path / ".download-abc" / "archive.tgz").write_text("half")
    download_ptb.download(server + "/whole", tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_two_downloads_into_one_folder_do_not_meet(server, tmp_path):
    with (
        download_ptb._alone(tmp_path),
        pytest.raises(UserError, match="another process downloads"),
    ):
        download_ptb.download(server + "/whole", tmp_path)


def test_the_address_is_authenticated():
    assert download_ptb.HOST.startswith("https://")
