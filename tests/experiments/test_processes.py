"""Several processes are one: the same losses, one end, and a run that goes on after it."""

import signal

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
    assert any("best validation loss" in line for line in printed) and not nothing
    processes.train(1, 1, arguments("one"))
    assert processes.largest_difference(folder / "two", folder / "one") < 1e-5


def test_where_one_is_killed_the_other_ends_and_the_run_goes_on_as_if_never_stopped(
    folder, arguments, two_processes
):
    args = arguments("killed")
    ends, seconds = processes.end_one(processes.start(2, 1, args), 0, signal.SIGKILL)
    code, _, err = ends[1]
    assert code == 1 and seconds < 60
    assert len(err) == 1 and err[0].startswith("error: another process has ended")

    processes.train(2, 1, args)
    names = "killed", "two"
    killed, whole = (processes.losses(folder / name).tolist() for name in names)
    assert killed == whole


@pytest.mark.parametrize("by, kind", [(signal.SIGTERM, interrupts.Terminated), (0, None)])
def test_a_signal_stops_a_process_only_where_all_of_them_stop(by, kind):
    """Here: where another process has noted one."""
    with interrupts.noted():
        interrupts.together(lambda number: number)
        with pytest.raises(KeyboardInterrupt) if kind is None else pytest.raises(kind):
            if by:
                signal.raise_signal(by)
            interrupts.together(lambda number: number or signal.SIGINT)
