"""Several processes are one: the same losses, the same refusals, and one end."""

import processes
import pytest
from texts import TEXTS, write

pytestmark = pytest.mark.standard


@pytest.fixture(scope="module")
def args(tmp_path_factory):
    text = write(tmp_path_factory.mktemp("text"), TEXTS)
    return [f"--data_dir={text}", *processes.SIZES]


@pytest.fixture(scope="module")
def one_device(args, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("one") / "run"
    processes.train(1, 1, [*args, "--num_epochs=3", f"--workdir={workdir}"])
    return workdir


def test_two_processes_are_one_and_a_run_goes_on_with_another_number(args, one_device, tmp_path):
    workdir = tmp_path / "run"
    args = [*args, f"--workdir={workdir}"]
    first, second = processes.train(2, 1, [*args, "--num_epochs=2"])
    assert any("best validation loss" in line for line in first[1]) and not second[1]
    processes.train(1, 2, [*args, "--num_epochs=3", "--mesh=data:1,model:2"])
    assert processes.largest_difference(workdir, one_device) < 1e-5


def test_where_one_process_is_killed_the_others_end_in_one_line_and_the_run_goes_on(args, tmp_path):
    found = []
    for workdir, is_killed in ((tmp_path / "whole", False), (tmp_path / "killed", True)):
        flags = [*args, f"--workdir={workdir}", "--num_epochs=12"]
        if is_killed:
            for number in (1, 0):
                ends, seconds = processes.kill_one(processes.start(2, 1, flags), number, 2)
                code, _, err = ends[1 - number]
                assert code == 1 and seconds < 60
                said = [line for line in err if line.startswith("error: ")]
                assert len(said) == 1 and said[0].startswith("error: another process has ended")
                assert not any("Traceback" in line for line in err)
        processes.train(2, 1, flags)
        found.append(processes.losses(workdir))
    assert found[0].tolist() == found[1].tolist()
