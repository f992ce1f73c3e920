"""The main job from the command line: what it prints and how it refuses."""

import json
import os
import re
import subprocess
import sys

import pytest
from texts import PTB, TEXTS, TINY, needs_ptb, write

from experiments.record import files

pytestmark = pytest.mark.standard


@pytest.mark.parametrize(
    "args, said",
    [
        ([], "vanilla RNN, true BPTT(3; 1): errors reach 3 steps back, in sequences of 6"),
        (
            ["--style=semi", "--stride=2", "--cell=gru"],
            "gru RNN, semi BPTT(3; 2): errors reach 2 to 3 steps back",
        ),
        (
            ["--style=epochwise", "--cell=lstm", "--carry=dropped"],
            "epochwise BPTT(3; 3): errors reach 1 to 3 steps back",
        ),
        (["--backward=windows", "--keep_prob=1"], "true BPTT(3; 1)"),
        (
            ["--seams=exact", "--seq_len=2"],
            "true BPTT(3; 1): errors reach 3 steps back, in sequences of 2",
        ),
    ],
)
def test_run_prints_and_writes_its_losses(main, tmp_path, args, said):
    code, out, _ = main(*args)
    assert code in (None, 0) and said in out
    assert (tmp_path / "run" / "losses.png").stat().st_size > 1000
    lines = out.splitlines()
    assert lines[0].startswith("text in ") and "480 / " not in lines[0]
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["style"] in said and config["horizon"] == 3 and config["num_epochs"] == 2
    assert config["corpus"]["num_words"] == 5 and "jax" in config["versions"]
    assert config["commit"] is None or re.fullmatch("[0-9a-f]{40}(-dirty)?", config["commit"])
    assert config["jax_config"]["jax_enable_x64"] is False
    *epochs, result = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert [epoch["epoch"] for epoch in epochs] == [1, 2]
    for epoch, line in zip(epochs, lines[5:7], strict=True):
        assert f"{epoch['train_loss']:.3f}" in line and f"{epoch['valid_loss']:.3f}" in line
    assert result["best_valid_loss"] == min(epoch["valid_loss"] for epoch in epochs)
    assert f"test loss of those parameters {result['test_loss']:.3f}" in lines[-1]


@pytest.mark.parametrize(
    "args, said",
    [
        (["--bptt=0"], "--bptt=0"),
        (["--style=full"], "--bptt=3"),
        (["--bptt=auto", "--style=semi"], "--style=semi"),
        (["--bptt=auto", "--bias=0"], "bias"),
        (["--bptt=some"], "--bptt=some"),
        (["--bias=0.1"], "--bias=0.1"),
        (["--tol=0.1", "--style=epochwise"], "--tol=0.1 goes with --style=true"),
        (["--tol=0.1", "--seams=exact"], "--tol=0.1 goes with --seams=cut"),
        (["--tol=1"], "tol"),
        (["--stride=2"], "--stride=2"),
        (["--seq_len=2"], "--seq_len=2"),
        (["--style=fancy"], "--style=fancy"),
        (["--keep_prob=0"], "keep_prob"),
        (["--learning_rate=-1"], "learning_rate"),
        (["--clip_norm=0"], "clip_norm"),
        (["--weight_decay=0.1"], "--weight_decay goes with --optimizer=adamw"),
        (["--warmup_updates=3"], "--lr_schedule=warmup_cosine"),
        (["--lr_schedule=warmup_cosine", "--warmup_updates=48"], "the run's 48 updates"),
        (["--batch_size=1000"], "batch of 1000"),
        (["--data_dir=nowhere"], "nowhere"),
        (["--corpus=embedded"], "--corpus=embedded"),
        (["--text=nowhere"], "--data_dir"),
        (["--split=80,10,10"], "--split"),
        (["--tokens=bpe", "--min_count=2"], "--min_count"),
        (["--learning_rate=1e38"], "--learning_rate"),
        (["--seed=99999999999999999999"], "--seed=99999999999999999999"),
        (["stray"], "stray"),
        (["--no_such_flag"], "no_such_flag"),
    ],
)
def test_bad_input_is_refused_in_one_line(main, tmp_path, args, said):
    code, _, err = main(*args)
    text = code if isinstance(code, str) else err.splitlines()[0]
    assert code not in (None, 0) and said in text and "\n" not in text
    assert "Traceback" not in err
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    assert args == ["--learning_rate=1e38"] or not (tmp_path / "run").exists()


@pytest.mark.parametrize(("bias", "said"), [("1e9", None), ("1e-9", "no horizon has a relative")])
def test_a_chosen_horizon_is_on_the_line_of_its_epoch_and_in_the_metrics(
    main, tmp_path, bias, said
):
    code, out, err = main("--bptt=auto", f"--bias={bias}", "--seq_len=8", "--num_epochs=1")
    assert code in (None, 0)
    assert f"horizon of 4, 8 whose relative bias is below {float(bias):g}, in sequences of 8" in out
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    epoch = json.loads(lines[0])
    assert epoch["horizon"] == (8 if said else 4) and 0 < epoch["decay"] < 1
    line = f"horizon {epoch['horizon']}, relative bias at most {epoch['relative_bias']:.2g}"
    assert out.splitlines()[5].endswith(line)
    assert (f"warning: epoch 1: {said}" in err) if said else "warning" not in err
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["bias"] == float(bias) and config["horizon"] == 8


def test_runs_of_one_second_get_folders_of_their_own(tmp_path):
    folders = {files.new_folder(tmp_path / "runs", "name") for _ in range(3)}
    assert {folder.name for folder in folders} == {"name", "name-2", "name-3"}


@needs_ptb
def test_penn_treebank_text_from_a_shell(tmp_path):
    """As a user types it, with a flag of JAX's own; an excerpt, whose words are all in training."""
    lines = (PTB / "ptb.valid.txt").read_text().splitlines(keepends=True)[:200]
    write(tmp_path, {"train": "".join(lines), "valid": "".join(lines[:90]), "test": lines[0] * 50})
    command = [sys.executable, "-m", "experiments.ptb", "--jax_platforms=cpu", "--num_epochs=1"]
    command += [f"--data_dir={tmp_path}", f"--workdir={tmp_path / 'run'}", "--bptt=5"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "best validation loss" in done.stdout and "Traceback" not in done.stderr


def test_help_explains_every_flag():
    command = [sys.executable, "-m", "experiments.ptb", "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "python -m experiments.ptb --style=true --bptt=20" in done.stdout
    for flag in "style bptt stride seq_len learning_rate num_epochs batch_size state_size".split():
        assert f"--{flag}:" in done.stdout or f"--[no]{flag}:" in done.stdout
    words = "embed_size keep_prob cell seed corpus data_dir carry workdir backward layers precision"
    words += " optimizer lr_schedule warmup_updates clip_norm weight_decay epsilon patience"
    for flag in words.split():
        assert f"--{flag}:" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_second_start_finds_its_compiled_programs(tmp_path):
    """In the user's cache folder, unless JAX's own flag turns the cache off."""
    write(tmp_path, TEXTS)
    command = [sys.executable, "-m", "experiments.ptb", f"--data_dir={tmp_path}", *TINY]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("JAX_ENABLE_COMPILATION_CACHE", None)
    kept = []
    for i, flag in enumerate(["--jax_enable_compilation_cache=false", "--seed=0", "--seed=1"]):
        more = [flag, f"--workdir={tmp_path / str(i)}"]
        subprocess.run(command + more, env=environment, check=True, capture_output=True)
        found = (tmp_path / "cache").rglob("jit_train_loop-*-cache")
        kept.append([path.name for path in found])
    assert not kept[0]
    assert len(kept[1]) == 1
    assert kept[2] == kept[1]
