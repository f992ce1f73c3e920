"""Corpora: where their texts come from, and what tokens they become."""

import hashlib
import json
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from texts import PTB, needs_ptb, write

from experiments.record.errors import UserError
from experiments.record.files import cache_dir
from experiments.text import data, embedded, tokenizer

TEXTS = {"train": "a b a\nb c <unk>\n", "valid": "a c\n", "test": "b\n"}


@needs_ptb
def test_penn_treebank_has_its_known_size_and_text():
    corpus = data.read_corpus("ptb", PTB)
    assert corpus.name == "Penn Treebank" and corpus.md5 == data.PTB_MD5
    assert (len(corpus.train), len(corpus.valid), len(corpus.test)) == (929_589, 73_760, 82_430)
    assert len(corpus.vocabulary) == 10_000
    words = [corpus.vocabulary[number] for number in corpus.train[:28]]
    assert words[:3] == ["aer", "banknote", "berlitz"] and words[24] == "<eos>"
    assert str(corpus) == (
        "Penn Treebank: 929,589 / 73,760 / 82,430 tokens (train/valid/test), 10,000 words"
    )
    # As they were before texts were streamed: the committed results were made from these.
    in_bytes = corpus.train[:].astype(np.int32).tobytes()
    assert md5(in_bytes) == "b000c608122e16baaacc98edf943c008"
    assert md5("\n".join(corpus.vocabulary).encode()) == "0441f153167cc7d9589980acc402f405"


def md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("place", ["", "data", "simple-examples/data"])
@pytest.mark.parametrize("prefix", ["", "ptb."])
def test_files_are_found_under_their_usual_names(tmp_path, place, prefix):
    write(tmp_path / place, TEXTS, prefix)
    corpus = data.read_corpus("auto", tmp_path)
    assert [corpus.vocabulary[n] for n in corpus.valid[:]] == ["a", "c", "<eos>"]
    assert corpus.vocabulary == ["<eos>", "a", "b", "<unk>", "c"]
    assert str(corpus).startswith(f"text in {tmp_path}: ")


def test_auto_takes_the_cache_folder_and_else_the_embedded_text(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "embedded" in data.read_corpus("auto").name
    write(tmp_path / "tbptt_jax" / "ptb", TEXTS)
    assert "embedded" not in data.read_corpus("auto").name


def test_byte_order_mark_and_long_words_are_text(tmp_path):
    write(tmp_path, TEXTS | {"train": "\ufeffa b c " + 100_000 * "z" + "\r\n"})
    corpus = data.read_corpus("ptb", tmp_path)
    assert corpus.vocabulary == ["<eos>", "a", "b", "c", 100_000 * "z", "<unk>"]


def test_embedded_text_is_prepared_like_the_penn_treebank():
    corpus = data.read_corpus("embedded")
    total = sum(len(getattr(corpus, split)) for split in data.SPLITS)
    assert 40_000 < total < 90_000
    assert len(corpus.valid) > 0.07 * total and len(corpus.test) > 0.07 * total
    assert {"<eos>", "<unk>", "N", "the"} <= set(corpus.vocabulary[:20])
    text = "".join(corpus.vocabulary)
    assert not set(text) - set("abcdefghijklmnopqrstuvwxyz'’<>N")
    counts = np.bincount(corpus.train)
    assert counts.min() == embedded.MIN_COUNT == 3
    again = data.read_corpus("embedded")
    assert corpus.md5 == again.md5 and len(set(corpus.md5.values())) == 3


def test_paragraph_that_topics_share_counts_once_and_code_never():
    shared = "A loop may have an else\nclause.  It runs last!"
    topics = {
        "for": f"{shared}\n\n   for_stmt ::= 'for'",
        "while": f"Repeat 3_0 times.\n\n{shared}",
    }
    topics["with"] = ">>> with open(x): pass\n\nThe __enter__() method’s value"
    assert embedded._prose(topics) == [
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
        ("auto", TEXTS | {"test": "  "}, "test text has no words"),
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
    with pytest.raises(UserError, match=r"valid.txt is not UTF-8: byte 0 is 0xff"):
        data.read_corpus("ptb", tmp_path)


def test_unseen_words_are_unknown_and_counted(tmp_path):
    write(tmp_path, TEXTS | {"valid": "a zebra\n", "test": "b <unk> zoo zebra"})
    corpus = data.read_corpus("ptb", tmp_path)
    assert [corpus.vocabulary[n] for n in corpus.valid[:]] == ["a", "<unk>", "<eos>"]
    assert corpus.num_unknown == (0, 1, 2)
    assert str(corpus).endswith("5 words; 0 / 1 / 2 became <unk>")


@pytest.mark.parametrize("kind", tokenizer.CLASSES)
def test_parts_of_a_file_are_the_same_corpus_as_three_files(tmp_path, kind):
    lines = [f"{word} {number % 7}\n" for number, word in enumerate(100 * ["und", "uß"])]
    whole = tmp_path / "whole.txt"
    whole.write_text("\ufeff" + "".join(lines).replace("\n", "\r\n"))
    settings = tokenizer.TokenizerSettings(kind, 260 if kind == "bpe" else None)
    corpus = data.read_text(whole, [Fraction(80), Fraction("12.5"), Fraction("7.5")], settings)
    texts = {"train": lines[:160], "valid": lines[160:185], "test": lines[185:]}
    write(tmp_path, {split: "".join(part) for split, part in texts.items()})
    expected = data.read_corpus("ptb", tmp_path, settings)
    assert corpus.md5 == expected.md5 and corpus.vocabulary == expected.vocabulary
    for split in data.SPLITS:
        found = getattr(corpus, split)
        np.testing.assert_array_equal(found[:], getattr(expected, split)[:])
        assert corpus.tokenizer.decode(found[:].tolist()).strip() == "".join(texts[split]).strip()


def test_tokens_are_made_once(tmp_path, monkeypatch):
    write(tmp_path, TEXTS | {"train": "made once\n"})
    first = data.read_corpus("ptb", tmp_path)
    monkeypatch.setattr(tokenizer, "fit", None)
    again = data.read_corpus("ptb", tmp_path)
    assert again.vocabulary == first.vocabulary
    np.testing.assert_array_equal(again.train[:], first.train[:])
    for settings in (tokenizer.TokenizerSettings("char"), tokenizer.TokenizerSettings("word", 3)):
        with pytest.raises(TypeError):
            data.read_corpus("ptb", tmp_path, settings)


@pytest.mark.parametrize("name", ["vocab.json", "train.npy", "manifest.json"])
@pytest.mark.parametrize(
    "damage", [lambda path: path.write_text("[1]"), Path.unlink], ids=["foreign", "missing"]
)
def test_damaged_cache_is_made_again(tmp_path, name, damage, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write(tmp_path, TEXTS)
    first = data.read_corpus("ptb", tmp_path)
    (damaged,) = cache_dir().rglob(name)
    damage(damaged)
    again = data.read_corpus("ptb", tmp_path)
    assert again.vocabulary == first.vocabulary
    np.testing.assert_array_equal(again.train[:], first.train[:])


@pytest.mark.parametrize("num_unknown", [{}, [], 3, {"train": 0, "valid": "x", "test": 0}])
def test_a_cache_whose_numbers_are_none_is_made_again(tmp_path, num_unknown, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write(tmp_path, TEXTS)
    first = data.read_corpus("ptb", tmp_path)
    (manifest,) = cache_dir().rglob("manifest.json")
    written = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(written | {"num_unknown": num_unknown}))
    assert str(data.read_corpus("ptb", tmp_path)) == str(first)


def test_pipe_in_place_of_a_text_is_refused(tmp_path):
    write(tmp_path, TEXTS)
    (tmp_path / "valid.txt").unlink()
    os.mkfifo(tmp_path / "valid.txt")
    with pytest.raises(UserError, match=r"valid\.txt is a pipe or a device"):
        data.read_corpus("ptb", tmp_path)
