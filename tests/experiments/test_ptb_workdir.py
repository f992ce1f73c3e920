"""The folder of the main job: what is kept there, gone on from, refused."""

import json
import os
import shutil

import commands
import pytest

from experiments import ptb
from experiments.lm import training
from experiments.lm.epoch import DivergenceError
from experiments.record import run_folder

pytestmark = pytest.mark.standard


@pytest.fixture(scope="module")
def finished_run(flags_of_text, tmp_path_factory):
    """The folder of a run that came to its end."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    assert commands.exit_of(ptb, f"--workdir={workdir}", *flags_of_text) in (None, 0)
    return workdir


@pytest.fixture
def finished(finished_run, tmp_path):
    """A copy of it where `main` runs."""
    return shutil.copytree(finished_run, tmp_path / "run")


def test_workdir_that_is_a_file_is_left_as_it_was(main, tmp_path):
    run = tmp_path / "run"
    run.write_text("precious")
    assert "is a file" in main()[0]
    assert run.read_text() == "precious"


def test_links_pipes_and_odd_names_are_named_as_what_they_are(main, finished, tmp_path):
    run = tmp_path / "run"
    (finished / "lock").unlink()
    (tmp_path / "precious").write_text("precious")
    (finished / "lock").symlink_to("../precious")
    assert "run/lock cannot be opened: it is a link" in main()[0]
    assert (tmp_path / "precious").read_text() == "precious"
    for name in ("lock", "config.json"):
        (finished / name).unlink()
    os.mkfifo(finished / "config.json")
    assert "config.json is a pipe or a device" in main()[0]  # and does not wait for ever
    run.rename(tmp_path / "away")
    run.symlink_to("nowhere")
    assert "run is a link that leads nowhere" in main()[0]
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/r\xffn")
    assert "has bytes that are no UTF-8" in main(f"--workdir={odd}")[0]


@pytest.mark.parametrize("damage", ["", "no_newline", "bom", "nan", "no_field"])
def test_metrics_that_were_edited_are_written_again(main, finished, damage):
    """They are the checkpoint's; what stands in the file counts for nothing."""
    metrics, before = finished / "metrics.jsonl", losses(finished)
    text = metrics.read_text()
    metrics.write_text(
        {
            "": "",
            "no_newline": text.rstrip("\n"),
            "bom": f"\ufeff{text}",
            "nan": text.replace("1,", "NaN,"),
            "no_field": text.replace("valid_loss", "other"),
        }[damage]
    )
    for _ in range(2):
        assert main()[0] in (None, 0)
        assert losses(finished) == before and metrics.read_text().endswith("\n")


def test_workdir_that_holds_another_run_is_left_as_it_was(main, finished):
    before = contents(finished)
    for arg, said in [
        ("--seed=1", "seed 0, not 1"),
        ("--cell=gru", "cell vanilla, not gru"),
        ("--layers=2", "layers 1, not 2"),
        ("--precision=bfloat16", "precision float32, not bfloat16"),
        ("--optimizer=sgd", "optimizer adam, not sgd"),
        ("--lr_schedule=cosine", "lr_schedule constant, not cosine"),
        ("--clip_norm=1", "clip_norm None, not 1.0"),
        ("--patience=1", "patience None, not 1"),
    ]:
        assert said in main(arg)[0]
        assert contents(finished) == before


def test_metrics_of_no_known_run_are_not_mixed_with_new_ones(main, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text("precious\n")
    assert "without config.json" in main()[0]
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == "precious\n"


@pytest.fixture
def diverge_in_epoch_2(monkeypatch):
    train_epoch = training.train_epoch

    def diverge(calls, state, text, key, progress):
        if progress.epoch == 1:
            raise DivergenceError("the training loss of epoch 2 is nan.", progress)
        return train_epoch(calls, state, text, key, progress)

    with monkeypatch.context() as patch:
        patch.setattr(training, "train_epoch", diverge)
        yield patch


def test_losses_before_a_divergence_are_kept(main, tmp_path, diverge_in_epoch_2):
    code, out, _ = main()
    assert code.startswith("error: the training loss of epoch 2 is nan")
    assert code.endswith(f"The state before that update is in {tmp_path / 'run' / 'diverged'}.")
    (line,) = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["epoch"] == 1 and f"{json.loads(line)['valid_loss']:.3f}" in out


def test_stopped_run_goes_on_as_if_never_stopped(main, tmp_path, finished_run, diverge_in_epoch_2):
    assert "epoch 2 is nan" in main()[0]
    # A stop after the checkpoint was written may leave older metrics beside it.
    (tmp_path / "run" / "metrics.jsonl").unlink()
    assert "epoch 2 is nan" in main()[0]
    assert [line["epoch"] for line in losses(tmp_path / "run")] == [1]
    diverge_in_epoch_2.undo()
    code, out, _ = main()
    assert code in (None, 0) and "going on after epoch 1 of 2" in out
    assert losses(tmp_path / "run") == losses(finished_run)
    assert main()[0] in (None, 0)  # nothing is left to do, and nothing is lost
    assert losses(tmp_path / "run") == losses(finished_run)


@pytest.mark.parametrize(
    ("pattern", "said"), [("config.json", "is damaged"), ("checkpoints/*/**/*", "checkpoint")]
)
def test_damaged_run_is_refused_and_left_as_it_was(main, finished, pattern, said):
    for path in finished.glob(pattern):
        if path.is_file():
            path.write_bytes(b"\x00damaged")
    before = contents(finished)
    code, _, _ = main()
    assert said in code and "\n" not in code
    assert contents(finished) == before


def test_metrics_without_their_checkpoint_are_not_overwritten(main, finished):
    shutil.rmtree(finished / "checkpoints")
    before = losses(finished)
    assert "holds metrics.jsonl without a checkpoint" in main()[0]
    assert losses(finished) == before


@pytest.mark.parametrize("keep", [slice(0, 0), slice(1, None)])
def test_metrics_are_written_again_from_the_checkpoint(main, finished, keep):
    metrics, before = finished / "metrics.jsonl", losses(finished)
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[keep]))
    assert main()[0] in (None, 0)
    assert losses(finished) == before


def test_two_processes_do_not_share_a_workdir(main, tmp_path):
    (tmp_path / "run").mkdir()
    with run_folder.alone(tmp_path / "run"):
        assert "another process runs in" in main()[0]
    assert main()[0] in (None, 0)


def test_a_refused_start_changes_nothing(main, tmp_path):
    assert main()[0] in (None, 0)
    before = contents(tmp_path / "run")
    with run_folder.alone(tmp_path / "run"):
        assert "another process runs in" in main("--num_epochs=40")[0]
    assert contents(tmp_path / "run") == before


def test_checkpoints_without_their_settings_are_not_adopted(main, finished):
    for name in ("config.json", "metrics.jsonl"):
        (finished / name).unlink()
    assert "holds checkpoints without config.json" in main("--learning_rate=0.01")[0]


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def losses(folder):
    """Everything in metrics.jsonl but the timings."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if "second" not in k} for line in lines]
