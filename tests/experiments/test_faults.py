"""Faults of the machine while the main job runs: kills, limits, damaged files."""

import functools
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.standard
TABLE = "epoch   train"  # the head of what a run prints, after it has found its state


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


def test_kills_at_any_moment_change_nothing(command, tmp_path):
    """Before the first update, within an epoch, and while a state is written."""
    args, env = command
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    args = [*args[:-1], "--checkpoint_every=7"]
    subprocess.run([*args, f"--workdir={whole}"], env=env, check=True, capture_output=True)
    states, args = killed / "checkpoints", [*args, f"--workdir={killed}"]
    is_finished = lambda state: (state / "checksums.json").exists()
    began, kept = lambda said: TABLE in said, lambda said: any(map(is_finished, states.glob("*")))
    writes = lambda said: TABLE in said and not all(map(is_finished, states.glob("*")))
    said = [killed_where(happened, args, env, tmp_path) for happened in (began, kept, writes)]
    end = subprocess.run(args, env=env, check=True, capture_output=True, text=True).stdout
    assert "going on" not in said[1]
    assert "going on after epoch 0 of 2 and " in said[2]
    assert "going on after epoch " in end
    assert losses(killed) == losses(whole)


def killed_where(happened, args, env, folder):
    """Starts a run and kills it as soon as `happened(what it has printed)`, which it returns."""
    output = folder / "output"
    with open(output, "w") as file, subprocess.Popen(args, env=env, stdout=file) as process:
        while process.poll() is None:
            time.sleep(0.005)
            if not happened(output.read_text()):
                continue
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.05)
            if happened(output.read_text()):  # still
                process.kill()
            process.send_signal(signal.SIGCONT)
    assert process.returncode == -signal.SIGKILL
    return output.read_text()


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
