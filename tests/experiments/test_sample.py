"""Text from a run: the parameters with the best loss, drawn from as asked."""

import functools
import json
import re
import shutil
from pathlib import Path

import commands
import jax
import numpy as np
import pytest
from texts import TEXTS, write

from experiments import ptb, sample
from experiments.lm import models, run, sampling
from experiments.record import run_folder
from experiments.record.errors import UserError
from experiments.text import tokenizer

pytestmark = pytest.mark.standard
TINY = ["--batch_size=4", "--state_size=6", "--embed_size=5", "--num_epochs=2", "--bptt=3"]


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Trains on a tiny text: the run's folder."""
    folder = tmp_path_factory.mktemp("runs")
    text = f"--data_dir={write(folder / 'text', TEXTS)}"

    def train(name, *args):
        if not (folder / name).exists():
            code = commands.exit_of(ptb, f"--workdir={folder / name}", text, *TINY, *args)
            assert code in (None, 0), code
        return folder / name

    return train


@pytest.fixture
def said(capsys):
    """Runs the command: (exit code or message, stdout, stderr)."""

    def said(*args):
        capsys.readouterr()
        code = commands.exit_of(sample, *args)
        return code, *capsys.readouterr()

    return said


@pytest.mark.parametrize("kind", tokenizer.CLASSES)
def test_prompt_and_length_tokens_are_printed(train, said, kind):
    workdir = train(kind, f"--tokens={kind}")
    args = [f"--workdir={workdir}", "--length=12", "--prompt=a b"]
    code, out, err = said(*args)
    assert code in (None, 0) and out.startswith("a b") and err == ""
    assert said(*args)[1] == out
    assert said(*args, "--seed=1")[1] != out
    if kind == "char":
        assert len(out.replace("<unk>", "?")) == len("a b") + 12 + len("\n")


def test_a_run_that_was_kept_within_its_first_epoch_has_nothing_to_load(train, monkeypatch):
    """Its best parameters are those it began with."""
    workdir = train("begun")
    state = run_folder.saved(workdir)
    assert state is not None
    monkeypatch.setattr(run_folder, "saved", lambda workdir: state | {"best_epoch": np.int32(0)})
    with pytest.raises(UserError, match="has finished no epoch; let it go on"):
        run.load(workdir)


def test_loaded_parameters_are_those_of_the_best_epoch(train):
    workdir = train("two", "--learning_rate=0.5")
    state = run_folder.saved(workdir)
    assert state is not None and state["best_epoch"] == 1 and state["epoch"] == 2
    model, params, found = run.load(workdir)
    like = models.init_params(model, jax.random.key(0))
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, like)
    for actual, best, last in zip(
        *map(jax.tree.leaves, (params, state["best_params"], state["params"])), strict=True
    ):
        np.testing.assert_array_equal(actual, best)
        assert not np.array_equal(actual, last)
    assert found.vocabulary == json.loads((workdir / "vocab.json").read_text())


def test_tokens_are_drawn_as_the_model_sees_what_came_before():
    """At temperature 0 each is the likeliest after those before it, in a loop by hand."""
    model = models.LanguageModel(9, 5, 6, "lstm")
    params = jax.tree.map(lambda leaf: 4.0 * leaf, models.init_params(model, jax.random.key(0)))
    prompt = np.array([3, 1, 4], np.int32)
    drawn = sampling.sample(model, params, prompt, 6, 0.0, jax.random.key(1))
    carry, likeliest = models.init_carry(model, 1), []
    for token in [*prompt, *drawn]:
        carry, y = models.step(model, params, carry, models.Inputs(np.array([token])))
        likeliest.append(int(np.argmax(models.logits(model, params, y)[0])))
    assert drawn.tolist() == likeliest[2:-1] and len(set(likeliest)) > 2


def test_frequencies_are_those_of_the_softmax():
    model = models.LanguageModel(3, 2, 2)
    params = jax.tree.map(np.zeros_like, models.init_params(model, jax.random.key(0)))
    params["readout"]["bias"] = np.log(np.array([0.7, 0.2, 0.1], np.float32))
    prompt = np.zeros(1, np.int32)
    for temperature, expected in [(1.0, [0.7, 0.2, 0.1]), (0.5, [0.907, 0.074, 0.019])]:
        drawn = sampling.sample(model, params, prompt, 4000, temperature, jax.random.key(0))
        np.testing.assert_allclose(np.bincount(drawn) / 4000, expected, atol=0.03)


def test_lines_of_the_guide_run_the_model(train):
    guide = (Path(__file__).parents[2] / "docs" / "guide.md").read_text()
    (lines,) = re.findall(r"## Use the parameters.*?```python\n(.*?)```", guide, flags=re.DOTALL)
    names = {"Path": Path, "functools": functools, "jax": jax, "np": np}
    names |= {"models": models, "run": run}
    exec(lines.replace("RUN", str(train("bpe", "--tokens=bpe"))), names)
    num_tokens, one, num_words = names["logits"].shape
    assert (one, num_words) == (1, len(names["tokenizer"].vocabulary)) and num_tokens > 3


def test_unknown_words_of_the_prompt_are_noted(train, said):
    code, out, err = said(f"--workdir={train('word')}", "--prompt=a zebra and b", "--length=1")
    assert code in (None, 0) and out.startswith("a <unk> <unk> b ")
    assert err == "note: words of the prompt that became <unk>: 2\n"


def test_what_is_no_finished_run_is_refused_in_one_line(train, said, tmp_path):
    (tmp_path / "empty").mkdir()
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "config.json").write_text("{")
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    config = (train("word") / "config.json").read_text()
    (stopped / "config.json").write_text(config)
    old = tmp_path / "old"
    for args, message in [
        ([], "--workdir=RUN"),
        ([f"--workdir={old}"], "holds no run"),
        ([f"--workdir={tmp_path / 'empty'}"], "holds no run"),
        ([f"--workdir={damaged}"], "is damaged"),
        ([f"--workdir={stopped}"], "holds no run that has begun"),
        ([f"--workdir={train('word')}", "--prompt= "], "holds no token"),
    ]:
        code, out, _ = said(*args)
        assert message in code and "\n" not in code and out == ""


def test_folder_whose_files_are_not_of_one_run_is_refused(train, said, tmp_path):
    """Another vocabulary, another model, a cell that does not exist."""
    for number, (name, damage) in enumerate(
        [
            ("vocab.json", lambda text: json.dumps(json.loads(text)[::-1])),
            ("vocab.json", lambda text: "[]"),
            ("config.json", lambda text: text.replace('"state_size": 6', '"state_size": 7')),
            ("config.json", lambda text: text.replace('"cell": "vanilla"', '"cell": "none"')),
        ]
    ):
        folder = tmp_path / str(number)
        shutil.copytree(train("word"), folder)
        text = (folder / name).read_text()
        assert damage(text) != text
        (folder / name).write_text(damage(text))
        code, out, _ = said(f"--workdir={folder}")
        assert code.startswith("error: ") and "\n" not in code and out == "", name


def test_values_of_a_config_that_no_model_has_are_refused_in_one_line(train, tmp_path):
    """Of another type, or out of range."""
    folder = shutil.copytree(train("word"), tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    damaged = [("tokenizer", {"kind": []}), ("tokenizer", {"kind": "none", "md5": ""})]
    damaged += [("corpus", {"num_words": value}) for value in ("5", -5, None)] + [("corpus", 3)]
    sizes = [name for name in run.MODEL if isinstance(config[name], int)]
    damaged += [(name, value) for name in sizes for value in ("5", -1, 0, 2.5, [], None)]
    damaged += [(name, value) for name in ("cell", "precision") for value in ("none", 1, [], None)]
    for name, value in damaged:
        (folder / "config.json").write_text(json.dumps(config | {name: value}))
        with pytest.raises(UserError) as refused:
            run.load(folder)
        assert str(folder) in str(refused.value) and "\n" not in str(refused.value), (name, value)


def test_reading_a_run_writes_nothing(train, said, tmp_path):
    folder = tmp_path / "kept"
    shutil.copytree(train("word"), folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert said(f"--workdir={folder}", "--length=3")[0] in (None, 0)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
