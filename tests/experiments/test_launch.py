"""How commands end: errors, signals, readers that go away."""

import os
import signal
import subprocess
import sys
import time

import commands
import jax
import pytest

from experiments import ptb, sample

pytestmark = pytest.mark.standard
PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
IN_FOREGROUND = PIPES | {
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
        ("--bias=1e300", "--bias=1e+300 is beyond 3.4e+38"),
        ("--tol=nan", "flag --tol=nan: must be below 1; see --help."),
        ("--bptt=foo", "flag --bptt=foo: "),
        ("--bias=0", "flag --bias=0.0: must be above 0; see --help."),
        ("--nosuch", "Unknown command line flag 'nosuch'"),
        ("--temperature=1", "--temperature is not a flag of this command"),
    ],
)
def test_value_that_means_nothing_is_refused(flag, said, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert sample.main  # its flags are known, and not this command's
    line = commands.exit_of(ptb, flag)
    assert line.startswith(f"error: {said}") and "\n" not in line
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


def run_script(path, script, *args):
    """The code of its exit and what it prints; `launch` and what it needs are imported."""
    path.write_text(f"import signal\nfrom experiments.record import launch\n{script}")
    env = os.environ | {"PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, path, *args], env=env, **IN_FOREGROUND)
    return done.returncode, done.stdout, done.stderr


def test_a_signal_in_the_garbage_collector_is_not_lost(tmp_path):
    """JAX has a callback there; what it raises Python drops."""
    script = """
import gc, time

def stop(phase, info):
    if collecting.pop("now", False):
        signal.raise_signal(signal.SIGTERM)

def main():
    collecting["now"] = True
    gc.collect()
    time.sleep(10)

collecting = {}
gc.callbacks.append(stop)
launch.run(main)
"""
    ended = run_script(tmp_path / "collect.py", script)
    assert ended == (143, "", "interrupted; what was written stays.\n")


def test_a_signal_while_xla_compiles_ends_a_command_in_one_line(tmp_path):
    script = """
import threading
import jax

def main():
    def long(x):
        for i in range(1000):
            x = jax.numpy.sin(x @ x + i)
        return x

    lowered = jax.jit(long).lower(jax.numpy.ones((64, 64)))
    threading.Timer(0.1, signal.raise_signal, [signal.SIGINT]).start()
    lowered.compile()
    print("compiled")

launch.run(main)
"""
    ended = run_script(tmp_path / "compile.py", script, "--jax_enable_compilation_cache=false")
    assert ended == (130, "", "interrupted; what was written stays.\n")


def test_a_command_that_is_still_loading_ends_at_once_without_a_word():
    command = [sys.executable, "-X", "importtime", "-m", "experiments.ptb", "--corpus=embedded"]
    with subprocess.Popen(command, **IN_FOREGROUND) as process:
        assert process.stderr is not None
        while "jax._src" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT and out == ""
    assert all(line.startswith("import time:") for line in err.splitlines())


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


def test_one_of_several_processes_says_once_why_it_ends(tmp_path):
    """JAX's thread finds another process lost while this one leaves it."""
    script = """
import threading
from experiments.record import launch, processes
from experiments.record.interrupts import Terminated

def leave():
    lost = threading.Thread(target=processes.end, args=["error: lost."])
    lost.start()
    lost.join()

def main():
    raise Terminated("all is kept.")

processes.are_several = lambda: True
processes.leave = leave
launch.run(main)
"""
    (tmp_path / "lost.py").write_text(script)
    env = os.environ | {"PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, tmp_path / "lost.py"], env=env, capture_output=True)
    assert (done.returncode, done.stderr) == (143, b"interrupted; all is kept.\n")


def test_a_reader_that_goes_away_ends_a_command_in_one_line(command):
    args, env = command
    shell = f"{' '.join(map(str, args))} | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], env=env, capture_output=True, text=True)
    assert done.stdout.startswith("text in ") and done.stdout.count("\n") == 1
    assert done.returncode == 141
    assert done.stderr == "stopped: nothing reads the output; what was written stays.\n"
