"""How the tests run a study, and the main job; a cache folder of their own."""

import json
import os
import sys

import commands
import pytest
from absl import flags
from texts import TEXTS, TINY, write

from experiments import ptb


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    """Tokens are not kept in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def exit_of(tmp_path):
    """Runs a main in this process: the exit's code or message. It writes into `tmp_path`."""

    def run(module, *args, out=tmp_path):
        folders = [f"--out={out}"] if out else []
        own = flags.FLAGS.get_key_flags_for_module(module.__name__)
        if "scratch" in {flag.name for flag in own}:
            folders.append(f"--scratch={tmp_path / 'scratch'}")
        return commands.exit_of(module, *folders, *args)

    return run


@pytest.fixture
def study(exit_of, capsys, tmp_path):
    """Runs a study's main to its good end: (its JSON by name, stdout)."""

    def run(module, *args):
        code = exit_of(module, *args)
        assert code in (None, 0), code
        found = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
        return found, capsys.readouterr().out

    return run


@pytest.fixture
def short_text(tmp_path):
    """The folder of a text of ten thousand words, as a flag."""
    num_times = {"train": 1200, "valid": 600, "test": 600}
    texts = {split: "a b a b c\nb c a\n" * num for split, num in num_times.items()}
    return f"--data_dir={write(tmp_path / 'text', texts)}"


@pytest.fixture(scope="module")
def flags_of_text(tmp_path_factory):
    return [f"--data_dir={write(tmp_path_factory.mktemp('text'), TEXTS)}", *TINY]


@pytest.fixture
def main(flags_of_text, capsys, tmp_path):
    """Runs the main in this process: (exit code or message, stdout, stderr)."""

    def run(*args):
        code = commands.exit_of(ptb, f"--workdir={tmp_path / 'run'}", *flags_of_text, *args)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def command(tmp_path):
    """The main job on a text of its own, and an environment with a cache of its own."""
    args = [
        sys.executable,
        "-m",
        "experiments.ptb",
        f"--data_dir={write(tmp_path / 'text', TEXTS)}",
    ]
    args += [*TINY, f"--workdir={tmp_path / 'run'}"]
    return args, os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
