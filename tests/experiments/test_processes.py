"""Several processes are one: the same losses, one end, and a run that goes on after it."""

import signal

import processes
import pytest
from texts import TEXTS, write

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
    text += ["--jax_persistent_cache_min_compile_time_secs=0.1", *processes.SIZES]
    return lambda name: [*text, "--num_epochs=4", f"--workdir={folder / name}"]


@pytest.fixture(scope="module")
def two_processes(arguments):
    return processes.train(2, 1, arguments("two"))


def test_two_processes_are_one(folder, arguments, two_processes):
    (_, printed, _), (_, nothing, _) = two_processes
    assert any("best validation loss" in line for line in printed) and not nothing
    processes.train(1, 1, arguments("one"))
    assert processes.largest_difference(folder / "two", folder / "one") < 1e-5


def test_one_that_is_stopped_or_killed_ends_all_and_the_run_goes_on(
    folder, arguments, two_processes
):
    """As if it had never stopped."""
    args = arguments("stopped")
    ends, _ = processes.end_one(processes.start(2, 1, args), 1, signal.SIGTERM)
    assert [code for code, *_ in ends] == [143, 143]
    assert all(err[-1].startswith("interrupted; what was learnt is kept") for *_, err in ends)

    ends, seconds = processes.end_one(processes.start(2, 1, args), 0, signal.SIGKILL)
    code, _, err = ends[1]
    assert code == 1 and seconds < 60
    assert len(err) == 1 and err[0].startswith("error: another process has ended")

    processes.train(2, 1, args)
    names = "stopped", "two"
    stopped, whole = (processes.losses(folder / name).tolist() for name in names)
    assert stopped == whole
