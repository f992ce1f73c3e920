"""Corpora, and their cutting into sequences."""

import numpy as np
import pytest
from texts import PTB, needs_ptb, write

from experiments.lm import data
from experiments.record.errors import UserError

TEXTS = {"train": "a b a\nb c <unk>\n", "valid": "a c\n", "test": "b\n"}


@needs_ptb
def test_penn_treebank_has_its_known_size_and_text():
    corpus = data.read_corpus("ptb", PTB)
    assert corpus.name == "Penn Treebank" and corpus.md5 == data.PTB_MD5
    assert (len(corpus.train), len(corpus.valid), len(corpus.test)) == (929_589, 73_760, 82_430)
    assert len(corpus.vocabulary) == 10_000
    words = [corpus.vocabulary[number] for number in corpus.train[:28]]
    assert words[:3] == ["aer", "banknote", "berlitz"] and words[24] == "<eos>"


@pytest.mark.parametrize("place", ["", "data", "simple-examples/data"])
@pytest.mark.parametrize("prefix", ["", "ptb."])
def test_files_are_found_under_their_usual_names(tmp_path, place, prefix):
    write(tmp_path / place, TEXTS, prefix)
    corpus = data.read_corpus("auto", tmp_path)
    assert [corpus.vocabulary[n] for n in corpus.valid] == ["a", "c", "<eos>"]
    assert corpus.vocabulary == ["<eos>", "a", "b", "<unk>", "c"]
    assert str(tmp_path) in corpus.name


def test_auto_takes_the_cache_folder_and_else_the_embedded_text(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "embedded" in data.read_corpus("auto").name
    write(tmp_path / "tbptt_jax" / "ptb", TEXTS)
    assert "embedded" not in data.read_corpus("auto").name


def test_byte_order_mark_and_long_words_are_text(tmp_path):
    write(tmp_path, TEXTS | {"train": "\ufeffa b c " + 100_000 * "z" + "\r\n"})
    corpus = data.read_corpus("ptb", tmp_path)
    assert corpus.vocabulary == ["<eos>", "a", "b", "c", 100_000 * "z"]


def test_embedded_text_is_prepared_like_the_penn_treebank():
    corpus = data.read_corpus("embedded")
    total = sum(len(getattr(corpus, split)) for split in data.SPLITS)
    assert 40_000 < total < 90_000
    assert len(corpus.valid) > 0.07 * total and len(corpus.test) > 0.07 * total
    assert {"<eos>", "<unk>", "N", "the"} <= set(corpus.vocabulary[:20])
    text = "".join(corpus.vocabulary)
    assert not set(text) - set("abcdefghijklmnopqrstuvwxyz'’<>N")
    counts = np.bincount(corpus.train)
    assert counts.min() == data.EMBEDDED_MIN_COUNT == 3
    again = data.read_corpus("embedded")
    assert corpus.md5 == again.md5 and len(set(corpus.md5.values())) == 3


def test_paragraph_that_topics_share_counts_once_and_code_never():
    shared = "A loop may have an else\nclause.  It runs last!"
    topics = {
        "for": f"{shared}\n\n   for_stmt ::= 'for'",
        "while": f"Repeat 3_0 times.\n\n{shared}",
    }
    topics["with"] = ">>> with open(x): pass\n\nThe __enter__() method’s value"
    assert data._prose(topics) == [
        "a loop may have an else clause\nit runs last\n",
        "repeat N N times\n",
        "the enter method’s value\n",
    ]


@pytest.mark.parametrize(
    "corpus, texts, said",
    [
        ("ptb", {}, "no ptb.train.txt"),
        ("auto", {}, "no ptb.train.txt"),
        ("auto", TEXTS | {"train": ""}, "train text is empty"),
        ("auto", TEXTS | {"valid": ""}, "valid text is empty"),
        ("auto", TEXTS | {"valid": "a zebra\n"}, "'zebra'"),
        ("auto", TEXTS | {"train": "a b c <unk>"}, "train text has no line end"),
        ("embedded", TEXTS, "--corpus=embedded"),
    ],
)
def test_bad_text_is_refused_in_one_line(tmp_path, corpus, texts, said):
    write(tmp_path, texts)
    with pytest.raises(UserError) as error:
        data.read_corpus(corpus, tmp_path)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    write(tmp_path, TEXTS)
    (tmp_path / "valid.txt").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(UserError, match="UTF-8"):
        data.read_corpus("ptb", tmp_path)


@pytest.mark.parametrize(
    "batch_size, seq_len, total", [(2, 3, 17), (3, 4, 30), (1, 5, 6), (4, 1, 8)]
)
def test_sequences_are_contiguous_streams_with_targets_shifted_by_one(batch_size, seq_len, total):
    tokens = np.arange(total, dtype=np.int32)
    inputs, targets = data.sequences(tokens, batch_size, seq_len, "train")
    length = total // batch_size
    assert inputs.shape == targets.shape == ((length - 1) // seq_len, seq_len, batch_size)
    np.testing.assert_array_equal(targets, inputs + 1)
    for stream in range(batch_size):
        followed = inputs[:, :, stream].ravel()
        np.testing.assert_array_equal(followed, stream * length + np.arange(followed.size))


def test_text_too_short_for_the_batch_is_refused():
    with pytest.raises(UserError, match=r"5 tokens.*batch of 2 .* 2 \+ 1 tokens needs 6"):
        data.sequences(np.arange(5), 2, 2, "train")
    assert len(data.sequences(np.arange(6), 2, 2, "train")[0]) == 1
