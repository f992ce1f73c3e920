"""The cache of tokens: whole or not at all, whoever else writes it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.record.errors import UserError
from experiments.text import token_cache

PROCESS = """
import sys, time
from pathlib import Path
from experiments.text import token_cache

def build(folder):
    with open(sys.argv[1], "a") as log:
        log.write("built\\n")
    (folder / "first").write_text("1")
    print("half", flush=True)
    time.sleep(float(sys.argv[2]))
    (folder / "second").write_text("2")

is_whole = lambda folder: (folder / "second").exists()
folder = token_cache.folder("key", build, is_whole)
assert sorted(path.name for path in folder.iterdir()) == ["first", "second"]
"""


@pytest.fixture(autouse=True)
def parent(tmp_path, monkeypatch):
    """Where the folders of this test lie."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "tbptt_jax" / "tokens"


def start(log, seconds):
    command = [sys.executable, "-c", PROCESS, str(log), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def write_both(folder):
    assert not any(folder.iterdir())
    (folder / "first").write_text("1")
    (folder / "second").write_text("2")


def test_two_processes_at_once_make_one_folder(tmp_path, parent):
    log = tmp_path / "log"
    processes = [start(log, 0.5) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert log.read_text() == "built\n"
    assert len([path for path in parent.iterdir() if path.is_dir()]) == 1


def test_what_a_killed_process_left_is_made_anew(tmp_path, parent):
    process = start(tmp_path / "log", 60)
    assert process.stdout and process.stdout.readline() == "half\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait(60)
    (left,) = [path for path in parent.iterdir() if path.is_dir()]
    assert [path.name for path in left.iterdir()] == ["first"]
    folder = token_cache.folder("key", write_both, Path.is_dir)
    assert folder != left and not left.exists() and len([*folder.iterdir()]) == 2


def test_a_folder_is_made_once_for_its_key():
    folders = [
        token_cache.folder({"b": 1, "a": key}, lambda _: None, Path.is_dir) for key in (1, 2)
    ]
    assert folders[0] != folders[1]
    assert (
        token_cache.folder({"a": 1, "b": 1}, lambda folder: folder / None, Path.is_dir)
        == folders[0]
    )


def test_error_leaves_nothing(parent):
    def build(folder):
        (folder / "first").write_text("1")
        raise UserError("not UTF-8")

    with pytest.raises(UserError, match="not UTF-8"):
        token_cache.folder("key", build, Path.is_dir)
    assert not [path for path in parent.iterdir() if path.is_dir()]


def test_cache_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "tbptt_jax").write_text("a file")
    with pytest.raises(UserError, match="XDG_CACHE_HOME"):
        token_cache.folder("key", write_both, Path.is_dir)
