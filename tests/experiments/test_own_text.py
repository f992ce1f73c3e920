"""A user's own file from the command line: words, characters, byte pairs; what is refused."""

import json
import os

import commands
import pytest

from experiments import ptb
from experiments.record.errors import UserError
from experiments.text import flags as text_flags
from experiments.text import tokenizer

pytestmark = pytest.mark.standard
TINY = ["--batch_size=2", "--state_size=6", "--embed_size=5", "--num_epochs=1", "--bptt=3"]


@pytest.fixture
def text(tmp_path):
    """A file of 200 lines, the last of which has words of its own."""
    path = tmp_path / "text.txt"
    path.write_bytes("Ein Bär\r\nund 2 Bären\r\n".encode() * 100 + b"zebra zoo\r\n")
    return path


@pytest.fixture
def main(tmp_path, capsys):
    """Trains: (exit code or message, stdout)."""

    def run(*args):
        code = commands.exit_of(ptb, f"--workdir={tmp_path / 'run'}", *TINY, *args)
        return code, capsys.readouterr().out

    return run


@pytest.mark.parametrize(
    "kind, file, noun",
    [
        ("word", "vocab.json", "7 words; 0 / 0 / 2 became <unk>"),
        ("char", "vocab.json", "characters; 0 / 0 / 6 became <unk>"),
        ("bpe", "tokenizer.json", "260 byte-pair tokens"),
    ],
)
def test_a_run_on_a_file_holds_what_its_tokens_are(main, text, tmp_path, kind, file, noun):
    size = ["--vocab_size=260"] if kind == "bpe" else []
    code, out = main(f"--text={text}", f"--tokens={kind}", "--split=80,10,10", *size)
    assert code in (None, 0), code
    line, *_ = out.splitlines()
    assert line.startswith(f"text in {text}: ") and line.endswith(noun)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["tokenizer"]["kind"] == kind
    found = tokenizer.load(kind, tmp_path / "run")
    assert len(found.vocabulary) == config["corpus"]["num_words"]
    assert (tmp_path / "run" / file).exists()


def test_a_run_on_another_text_or_other_tokens_is_refused(main, text):
    assert main(f"--text={text}")[0] in (None, 0)
    for args in (["--tokens=char"], ["--min_count=2"], ["--split=80,10,10"]):
        assert "holds a run with" in main(f"--text={text}", *args)[0]
    assert main(f"--text={text}")[0] in (None, 0)
    text.write_text(text.read_text() + "zoo\n")
    assert "holds a run with" in main(f"--text={text}")[0]


@pytest.mark.parametrize("split", ["90,5", "90,5,6", "95,5,0", "-5,100,5", "a,b,c", "nan,5,5", ""])
def test_split_that_is_no_division_of_the_text_is_refused(split):
    with pytest.raises(UserError, match="three numbers above 0 that sum to 100"):
        text_flags.percent(split)


def test_flags_that_contradict_the_text_are_refused(main, text, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for args, said in [
        (["--corpus=ptb"], "--corpus=ptb"),
        (["--corpus=embedded"], "--corpus=embedded"),
        ([f"--data_dir={tmp_path}"], "--data_dir"),
        (["--split=50,50"], "--split=50,50"),
        (["--split=1e400000000,5,6"], "--split=1e400000000,5,6 must be three numbers"),
        (["--tokens=bpe", "--vocab_size=100"], "--vocab_size=100"),
        ([f"--text={tmp_path / 'none'}"], "No such file"),
        ([f"--text={tmp_path}"], "is a folder"),
        ([f"--text={tmp_path / 'pipe'}"], "is a pipe or a device"),
    ]:
        code, _ = main(f"--text={text}", *args)
        assert code.startswith("error: ") and said in code and "\n" not in code
    assert not (tmp_path / "run").exists()
