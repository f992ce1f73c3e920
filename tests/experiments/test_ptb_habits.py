"""The main job as a training script: how it stops, what it prints, what it leaves to look at."""

import itertools
import json
import shlex
import signal
import struct

import commands
import pytest
from tensorboardX.proto.event_pb2 import Event

from experiments import ptb
from experiments.lm import training
from experiments.record import run_folder

pytestmark = pytest.mark.standard


def losses(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if "second" not in k} for line in lines]


@pytest.fixture
def in_foreground():
    """Python's own handler of Ctrl-C, which a process in the background does not get."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


def interrupted_in(patch, module, name, call_number):
    """Ctrl-C when a module's function is called for the n-th time; it would go on after that."""
    real, numbers = getattr(module, name), itertools.count(1)

    def call(*args):
        if next(numbers) == call_number:
            signal.raise_signal(signal.SIGINT)
        return real(*args)

    patch.setattr(module, name, call)


@pytest.mark.usefixtures("in_foreground")
@pytest.mark.parametrize(
    ("module", "name", "call_number"),
    [
        (training, "_begin_epoch", 3),  # of the second epoch: the first call is for compilation
        (run_folder, "save", 1),
        (run_folder, "write_metrics", 1),
    ],
)
def test_ctrl_c_keeps_finished_epochs_and_says_how_to_go_on(
    module, name, call_number, flags_of_text, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        interrupted_in(patch, module, name, call_number)
        assert commands.exit_of(ptb, *flags_of_text, "--seed=3") == 130
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert out.splitlines()[-1].startswith("    1 ")
    said, command = line.split(": ")
    assert said == "interrupted; what was learnt is kept; go on with"
    name, *args = shlex.split(command)[2:]
    (workdir,) = (tmp_path / "runs").iterdir()
    assert name == "experiments.ptb" and args[-1] == f"--workdir={workdir.relative_to(tmp_path)}"
    assert [line["epoch"] for line in losses(workdir)] == [1]
    assert (workdir / "losses.png").exists()
    assert commands.exit_of(ptb, *args) in (None, 0)
    assert "going on after epoch 1 of 2" in capsys.readouterr().out
    assert [line["epoch"] for line in losses(workdir)[:2]] == [1, 2]


def test_tokens_that_no_loss_is_of_are_counted_and_evaluated_on_request(main, tmp_path):
    """480, 120 and 90 tokens, in 4 streams and sequences of 6."""
    _, out, _ = main("--num_epochs=1")
    assert "do not fill a sequence: train 23, valid 23, test 17" in out
    _, out, _ = main("--num_epochs=1", "--evaluate=all", f"--workdir={tmp_path / 'all'}")
    assert "do not fill a sequence: train 23, valid 0, test 0" in out
    some, every = losses(tmp_path / "run"), losses(tmp_path / "all")
    assert some[0]["train_loss"] == every[0]["train_loss"]
    assert some[0]["valid_loss"] != every[0]["valid_loss"]


def test_a_finished_run_is_extended_as_if_it_had_been_longer_from_the_start(main, tmp_path):
    assert main("--num_epochs=4", f"--workdir={tmp_path / 'long'}")[0] in (None, 0)
    assert main("--num_epochs=2")[0] in (None, 0)
    _, out, _ = main("--num_epochs=4")
    assert "going on after epoch 2 of 4" in out
    assert losses(tmp_path / "run") == losses(tmp_path / "long")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["num_epochs"] == 4
    assert "holds a run with num_epochs 4, not 3" in main("--num_epochs=3")[0]


def test_a_run_whose_rate_depends_on_its_length_is_not_extended(main):
    assert main("--lr_schedule=cosine")[0] in (None, 0)
    assert "num_epochs 2, not 3" in main("--lr_schedule=cosine", "--num_epochs=3")[0]


def test_run_without_patience_left_is_over_and_stays_over(main, tmp_path):
    """With a rate that is far too high the validation loss soon gets worse."""
    args = "--num_epochs=9", "--patience=2", "--learning_rate=0.5", "--optimizer=sgd"
    code, out, _ = main(*args, "--lr_schedule=linear", "--clip_norm=100")
    assert code in (None, 0)
    *epochs, result = losses(tmp_path / "run")
    valid = [epoch["valid_loss"] for epoch in epochs]
    best = valid.index(min(valid)) + 1
    assert len(valid) == best + 2 < 9 and result["best_epoch"] == best
    assert f"stopped after epoch {best + 2}: 2 without a better validation loss" in out
    _, again, _ = main(*args, "--lr_schedule=linear", "--clip_norm=100")
    assert again.splitlines()[-2:] == out.splitlines()[-2:]
    assert losses(tmp_path / "run") == [*epochs, result]


@pytest.mark.parametrize(
    ("loss", "said"), [(0.0, "1.0"), (5.0, "148.4"), (13.9, ">1e6"), (50.0, ">1e6"), (1e30, ">1e6")]
)
def test_perplexity_is_short(loss, said):
    assert ptb._perplexity(loss) == said


def test_header_names_what_differs_from_the_defaults(main):
    _, out, _ = main("--layers=2", "--optimizer=adamw", "--carry=dropped", "--num_epochs=1")
    line = out.splitlines()[2]
    details, changed = line.split("; ")
    assert details == "seams cut, carry dropped, learning rate 0.001"
    assert changed.startswith("apart from the defaults: ")
    flags = line.split(": ")[1].split()
    assert {"--layers=2", "--optimizer=adamw", "--num_epochs=1", "--state_size=6"} <= set(flags)
    assert not any(flag.startswith(("--bptt", "--carry", "--keep_prob")) for flag in flags)


def scalars(path):
    """[(step, tag, value)] of an event file, and the steps at which a start is said to be."""
    found, starts, data = [], [], path.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])  # of the event; each part has a checksum
        event = Event.FromString(data[12 : 12 + length])
        data = data[12 + length + 4 :]
        found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
        starts += [event.step] if event.HasField("session_log") else []
    return found, starts


def test_tensorboard_shows_every_epoch_once_and_the_profile_is_named(main, tmp_path):
    run = tmp_path / "run"
    code, out, _ = main("--tensorboard", "--profile")
    assert code in (None, 0) and f"tensorboard --logdir={run}/tensorboard" in out
    line = next(line for line in out.splitlines() if line.startswith("profile: open "))
    assert line.split()[2].startswith(f"{run}/profile/") and line.endswith("ui.perfetto.dev")
    for event_file in (run / "tensorboard").iterdir():
        event_file.rename(tmp_path / "first")
    main("--tensorboard")  # nothing is left to do, but to write them again
    (second,) = (run / "tensorboard").iterdir()
    *epochs, _ = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    for path in (tmp_path / "first", second):
        found, starts = scalars(path)
        assert starts == [1]  # what was there before is hidden
        assert found == [
            (epoch["epoch"], tag, pytest.approx(epoch[name]))
            for epoch in epochs
            for name, tag in (
                ("train_loss", "loss/train"),
                ("valid_loss", "loss/valid"),
                ("tokens_per_second", "tokens_per_second"),
            )
        ]
