"""Several processes are one: the same losses, one end, and a run that goes on after it."""

import os
import signal
import socket
import subprocess
import sys

import processes
import pytest
from texts import TEXTS, write

from experiments.record import interrupts

pytestmark = pytest.mark.standard


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    write(folder / "text", TEXTS)
    return folder


@pytest.fixture(scope="module")
def arguments(folder):
    """Those of a run by its folder's name; compiled programs are kept from run to run."""
    text = [f"--data_dir={folder / 'text'}", f"--jax_compilation_cache_dir={folder / 'cache'}"]
    text += ["--jax_persistent_cache_min_compile_time_secs=0.1", processes.BPTT, *processes.SIZES]
    return lambda name: [*text, "--num_epochs=4", f"--workdir={folder / name}"]


@pytest.fixture(scope="module")
def two_processes(arguments):
    return processes.train(2, 1, arguments("two"))


def test_two_processes_are_one(folder, arguments, two_processes):
    (_, printed, _), (_, nothing, _) = two_processes
    assert printed[0].startswith("text in ") and printed[-1].startswith("best validation loss")
    assert not any("Gloo" in line for line in printed) and not nothing
    processes.train(1, 1, arguments("one"))
    assert processes.largest_difference(folder / "two", folder / "one") < 1e-5


@pytest.mark.parametrize("number", [0, 1])
def test_where_one_is_killed_the_other_ends_and_the_run_goes_on_as_if_never_stopped(
    folder, arguments, two_processes, number
):
    args = arguments(f"killed-{number}")
    ends, seconds = processes.end_one(processes.start(2, 1, args), number, signal.SIGKILL)
    code, _, err = ends[1 - number]
    assert code == 1 and seconds < 60
    assert len(err) == 1 and err[0].startswith("error: another process has ended")

    processes.train(2, 1, args)
    names = f"killed-{number}", "two"
    killed, whole = (processes.losses(folder / name).tolist() for name in names)
    assert killed == whole


@pytest.mark.parametrize(
    "own, said",
    [
        (([], ["--seed=3"]), "--seed is 0 in process 0 and 3 in process 1;"),
        (
            (["--checkpoint_every=10"], []),
            "--checkpoint_every is 10 in process 0 and not given in process 1;",
        ),
        (([], ["--num_processes=3"]), "--num_processes is 2 in process 0 and 3 in process 1;"),
    ],
)
def test_all_processes_refuse_flags_that_differ_in_the_same_line(folder, arguments, own, said):
    ends = processes.finish(processes.start(2, 1, arguments("differs"), own=own), limit=60)
    line = f"error: {said} give all processes the same."
    assert ends == [(1, [], [line])] * 2 and not (folder / "differs").exists()


def test_a_process_that_waits_for_one_that_has_ended_says_so_in_one_line(folder, arguments):
    other = write(folder / "other text", TEXTS | {"train": "a b c\n" * 100})
    own = [], [f"--data_dir={other}"]
    ends = processes.finish(processes.start(2, 1, arguments("texts"), own=own), limit=60)
    (code, _, (line,)), (other_code, _, (refused,)) = ends
    assert code == other_code == 1
    assert line.startswith("error: another process has ended or cannot be reached;")
    assert "holds a run with corpus.md5.train" in refused


DIES_WITHIN_A_SAVE = """
import os, runpy, signal, sys
from experiments.record import checkpoints
if "--process_id={number}" in sys.argv:
    checkpoints.save = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
runpy.run_module("experiments.ptb", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("number", [0, 1])
def test_where_one_is_killed_within_a_save_the_other_names_the_cause(arguments, number):
    """It is not the disk's fault."""
    script = DIES_WITHIN_A_SAVE.format(number=number)
    ends = processes.finish(processes.start(2, 1, arguments(f"save-{number}"), script=script), 60)
    code, _, (line,) = ends[1 - number]
    assert code == 1 and line.startswith("error: another process has ended or cannot be reached")


IMPATIENT = """
import runpy
from experiments.record import joining
joining.JOIN_SECONDS, joining.PATIENCE_SECONDS = 2, 1
runpy.run_module("experiments.ptb", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    "where, said",
    [
        (["--coordinator=no.such.host.invalid:9", "--process_id=1"], "cannot join: "),
        (["--coordinator=localhost:1", "--process_id=1"], "cannot join: Connection refused."),
        (["--coordinator=localhost:{free}", "--process_id=0"], "not all were here after 2 s; "),
        (["--coordinator=localhost:{taken}", "--process_id=0"], "Address already in use"),
        (["--coordinator=auto"], "cannot join: "),
    ],
)
def test_processes_that_cannot_join_say_why_in_the_last_line(arguments, where, said):
    with socket.create_server(("", 0)) as taken, socket.socket() as free:
        free.bind(("", 0))
        ports = {"taken": taken.getsockname()[1], "free": free.getsockname()[1]}
        free.close()
        flags = [flag.format(**ports) for flag in where]
        num = [] if where == ["--coordinator=auto"] else ["--num_processes=2"]
        command = [sys.executable, "-c", IMPATIENT, *arguments("alone"), *num, *flags]
        setting = os.environ | {"PYTHONPATH": str(processes.ROOT), "JAX_PLATFORMS": "cpu"}
        done = subprocess.run(command, env=setting, capture_output=True, text=True, timeout=60)
    *waited, line = done.stderr.splitlines()
    assert done.returncode == 1 and not done.stdout
    assert line.startswith(f"error: {flags[0]}: the processes cannot join: ") and said in line
    assert all(note.startswith("waiting up to 2 s for all processes") for note in waited)


@pytest.mark.parametrize("by, kind", [(signal.SIGTERM, interrupts.Terminated), (0, None)])
def test_a_signal_stops_a_process_only_where_all_of_them_stop(by, kind):
    """Here: where another process has noted one."""
    with interrupts.noted():
        interrupts.together(lambda number: number)
        with pytest.raises(KeyboardInterrupt) if kind is None else pytest.raises(kind):
            if by:
                signal.raise_signal(by)
            interrupts.together(lambda number: number or signal.SIGINT)
