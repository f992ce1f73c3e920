"""How every command ends where a user's value cannot be used, or memory does not suffice."""

import functools
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import commands
import jax
import pytest
from texts import TEXTS, TINY, write

from experiments import ptb, sample

pytestmark = pytest.mark.standard
IN_FOREGROUND = {
    "stdout": subprocess.PIPE,
    "stderr": subprocess.PIPE,
    "text": True,
    # A process whose parent is in the background does not get Ctrl-C.
    "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
}


@pytest.mark.parametrize(
    "flag, said",
    [
        ("--workdir=", "--workdir= is empty"),
        ("--text=", "--text= is empty"),
        ("--learning_rate=inf", "--learning_rate=inf must be a finite number"),
        ("--clip_norm=nan", "--clip_norm=nan must be a finite number"),
        ("--state_size=99999999999999999999", "--state_size=99999999999999999999 is beyond 214748"),
        ("--workdir=gs://bucket/run", "gs://bucket/run is an address; name a folder"),
        ("--workdir=~nosuchuser/run", "~nosuchuser/run names a home folder that does not exist"),
        ("--temperature=1", "--temperature is not a flag of this command"),
    ],
)
def test_value_that_means_nothing_is_refused(flag, said, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert sample.main  # its flags are known, and not this command's
    assert commands.exit_of(ptb, flag).startswith(f"error: {said}")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("flag", ["--embed_size=100000000", "--state_size=2147483647"])
def test_sizes_that_memory_cannot_hold_are_refused_before_they_are_tried(
    flag, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    said = commands.exit_of(ptb, "--corpus=embedded", flag)
    assert "GB, and this machine has" in said and "\n" not in said
    assert not any((tmp_path / "runs").iterdir())


def test_memory_that_runs_out_ends_in_one_line(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    message = "RESOURCE_EXHAUSTED: Out of memory allocating 160000000000 bytes.\nmore"

    def train(*args, **kwargs):
        raise jax.errors.JaxRuntimeError(message)

    monkeypatch.setattr(ptb.run, "train", train)
    said = commands.exit_of(ptb, "--corpus=embedded")
    assert said.startswith("error: out of memory; smaller sizes may fit (RESOURCE_EXHAUSTED: ")
    assert "\n" not in said and not any((tmp_path / "runs").iterdir())
    message = "INTERNAL: a fault of XLA's"
    with pytest.raises(jax.errors.JaxRuntimeError):
        commands.exit_of(ptb, "--corpus=embedded")


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_in_one_line_with_the_shells_exit_code(command, number):
    args, env = command
    args = [*args, "--num_epochs=100000"]
    with subprocess.Popen(args, env=env, **IN_FOREGROUND) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("    2 "):
            pass
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    (line,) = err.splitlines()
    assert process.returncode == 128 + number
    assert line.startswith("interrupted; what was learnt is kept; go on with: python -m ")


def test_a_second_signal_ends_a_command_at_once_without_a_word(tmp_path):
    """Though the first is being worked on."""
    script = """
import time
from experiments.record import launch

def main():
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        print("stopping", flush=True)
        time.sleep(60)

launch.run(main)
"""
    (tmp_path / "slow.py").write_text(script)
    env = os.environ | {"PYTHONPATH": os.getcwd()}
    command = [sys.executable, tmp_path / "slow.py"]
    with subprocess.Popen(command, env=env, **IN_FOREGROUND) as process:
        assert process.stdout is not None
        for said in ("begun", "stopping"):
            assert process.stdout.readline() == f"{said}\n"
            process.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert process.communicate() == ("", "")
    assert process.returncode == 130 and time.monotonic() - began < 10


def test_threads_that_fail_later_add_nothing_to_an_error(tmp_path):
    script = """
import logging
import threading
import time
from experiments.record import launch
from experiments.record.errors import UserError

def late():
    time.sleep(0.5)
    logging.getLogger().error("from a thread")
    raise ValueError("from a thread")

def main():
    threading.Thread(target=late).start()
    raise UserError("no.")

launch.run(main)
"""
    (tmp_path / "late.py").write_text(script)
    env = os.environ | {"PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, tmp_path / "late.py"], env=env, capture_output=True)
    assert done.returncode == 1
    assert done.stderr == b"error: no.\n"


def test_a_reader_that_goes_away_ends_a_command_in_one_line(command):
    args, env = command
    shell = f"{' '.join(map(str, args))} | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], env=env, capture_output=True, text=True)
    assert done.stdout.startswith("text in ") and done.stdout.count("\n") == 1
    assert done.returncode == 141
    assert done.stderr == "stopped: nothing reads the output; what was written stays.\n"


def test_compiled_programs_are_private_and_damaged_ones_are_made_again(command, tmp_path):
    args, env = command
    env.pop("JAX_ENABLE_COMPILATION_CACHE", None)
    old = os.umask(0)
    try:
        subprocess.run(args, env=env, check=True, capture_output=True)
    finally:
        os.umask(old)
    folder = tmp_path / "cache" / "tbptt_jax" / "compiled"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (entry,) = folder.glob("jit_train_loop-*-cache")
    whole = entry.read_bytes()
    for content in (whole[: len(whole) // 2], b""):
        entry.write_bytes(content)
        again = [*args[:-1], f"--workdir={tmp_path / str(len(content))}"]
        done = subprocess.run(again, env=env, check=True, capture_output=True, text=True)
        assert not done.stderr
        assert len(entry.read_bytes()) > len(whole) // 2


def test_a_user_without_a_home_can_train(command, monkeypatch, tmp_path):
    args, env = command
    script = "import pathlib, runpy, sys\n"
    script += "def home(cls=None): raise RuntimeError('no home')\n"
    script += "pathlib.Path.home = classmethod(home)\n"
    script += "sys.argv = sys.argv[1:]; runpy.run_module('experiments.ptb', run_name='__main__')"
    env = {name: value for name, value in env.items() if name not in ("XDG_CACHE_HOME", "HOME")}
    run = [sys.executable, "-c", script, *args[2:]]
    done = subprocess.run(run, env=env | {"TMPDIR": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.glob("tbptt_jax-of-user-*")
    assert folder.is_dir()


def test_kills_at_any_moment_change_nothing(command):
    """Before the first update, within epochs and while a state is written."""
    args, env = command
    *args, workdir = [*args[:-1], "--num_epochs=30", "--checkpoint_every=7", args[-1]]
    whole, killed = f"{workdir}-whole", f"{workdir}-killed"
    subprocess.run([*args, whole], env=env, check=True, capture_output=True)
    for delay in (0.3, 1.2):
        with subprocess.Popen([*args, killed], env=env, **IN_FOREGROUND) as process:
            assert process.stdout is not None
            while not process.stdout.readline().startswith("epoch"):
                pass
            time.sleep(delay)
            process.kill()
    subprocess.run([*args, killed], env=env, check=True, capture_output=True)
    found, expected = (losses(Path(run.removeprefix("--workdir="))) for run in (killed, whole))
    assert found == expected


def losses(workdir):
    """Every number of a run's metrics that is no time."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    of_time = "seconds", "tokens_per_second"
    return [{k: v for k, v in json.loads(line).items() if k not in of_time} for line in lines]


@pytest.mark.parametrize("num_handles", [14, 20])
def test_too_few_handles_end_a_run_in_one_line(command, num_handles):
    args, env = command
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_NOFILE)
    lower = lambda: limit((num_handles, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    done = subprocess.run(args, env=env, preexec_fn=lower, capture_output=True, text=True)
    *_, said = done.stderr.splitlines()
    assert done.returncode == 1
    assert said.startswith("error: the state cannot be written to ") and "open files" in said
    assert "Traceback" not in done.stderr


def test_a_file_system_without_room_for_files_ends_a_run_in_one_line(command, tmp_path):
    args, env = command
    folder = tmp_path / "few"
    folder.mkdir()
    mounted = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mounted += [f'mount -t tmpfs -o nr_inodes=30 tmpfs {folder} && exec "$@"', "sh"]
    if subprocess.run([*mounted, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    run = [*mounted, *args[:-1], f"--workdir={folder / 'run'}"]
    done = subprocess.run(run, env=env, capture_output=True, text=True)
    assert done.returncode == 1
    warning, said = done.stderr.splitlines()
    assert warning.startswith("warning: ") and "losses.png cannot be written" in warning
    assert said.startswith("error: the state cannot be written to ") and "No space left" in said
