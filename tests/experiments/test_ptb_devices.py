"""The main job on several devices: the same losses, and refusals in one line."""

import json

import pytest

pytestmark = pytest.mark.standard


def losses(workdir):
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [[line.get("train_loss", 0), line.get("valid_loss", 0)] for line in lines]


def test_devices_may_change_from_one_start_to_the_next(main, tmp_path):
    code, _, _ = main("--batch_size=8", "--num_epochs=4")
    assert code in (None, 0)
    expected = losses(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "one device")
    for num, mesh in enumerate(
        (["--mesh=data:4"], [], ["--mesh=data:2,model:1"], ["--mesh=data:8"])
    ):
        code, out, _ = main("--batch_size=8", f"--num_epochs={num + 1}", *mesh)
        assert code in (None, 0)
        assert num == 0 or f"going on after epoch {num} of {num + 1}" in out
    for actual, one in zip(losses(tmp_path / "run"), expected, strict=True):
        assert actual == pytest.approx(one, rel=1e-5)


@pytest.mark.parametrize(
    "args, said",
    [
        (["--mesh=data:16", "--batch_size=16"], "--mesh=data:16 is of 16 devices, and JAX finds 8"),
        (["--mesh=data:3"], "--batch_size of 4 streams is no multiple of 3"),
        (["--mesh=data:2,model:2"], "vocabulary of 5 is no multiple of 2; with --vocab_size=4"),
        (["--mesh=time:2"], "--mesh=time:2 must be data:N or data:N,model:M"),
        (["--mesh=data:2,data:2"], "must be data:N or data:N,model:M"),
        (["--mesh=data:0"], "must be data:N or data:N,model:M"),
        (["--mesh=data"], "must be data:N or data:N,model:M"),
        (["--mesh=data:2", "--backward=windows"], "does not go with --backward=windows"),
        (["--num_processes=2"], "--num_processes goes with --coordinator=ADDRESS:PORT"),
        (["--process_id=0"], "--process_id goes with --coordinator=ADDRESS:PORT"),
        (["--coordinator=localhost:9"], "goes with --num_processes and --process_id"),
        (
            ["--coordinator=localhost", "--num_processes=2", "--process_id=0"],
            "--coordinator=localhost must be ADDRESS:PORT, or auto",
        ),
        (
            ["--coordinator=localhost:9", "--num_processes=2", "--process_id=2"],
            "--process_id=2 must be below --num_processes=2",
        ),
        (
            ["--coordinator=localhost:0", "--num_processes=2", "--process_id=0"],
            "--coordinator=localhost:0: a port is from 1 to 65535",
        ),
        (
            ["--coordinator=localhost:65536", "--num_processes=1", "--process_id=0"],
            "--coordinator=localhost:65536: a port is from 1 to 65535",
        ),
    ],
)
def test_bad_devices_and_processes_are_refused_in_one_line(main, tmp_path, args, said):
    code, _, err = main(*args)
    assert isinstance(code, str) and said in code and "\n" not in code
    assert "Traceback" not in err and not (tmp_path / "run").exists()
