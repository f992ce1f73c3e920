"""Words, characters and byte pairs, whatever pieces a text comes in."""

import itertools
from collections import Counter

import numpy as np
import pytest

from experiments.record.errors import UserError
from experiments.text import byte_pairs, tokenizer, vocabulary, word_counts, words

TEXT = "the cat\tsat  on the mat\n\n  the  höhle, the\u2003cat's\n" * 3 + "no end"
SETTINGS = [
    tokenizer.TokenizerSettings("word"),
    tokenizer.TokenizerSettings("char"),
    tokenizer.TokenizerSettings("bpe", 270),
]


def in_pieces(text, length):
    return [text[at : at + length] for at in range(0, len(text), length)]


def encode(found, pieces):
    arrays, unknown = zip(*found.encode(pieces), strict=True)
    return np.concatenate(arrays), sum(unknown)


def fit(settings, text, length=10_000):
    return tokenizer.fit(settings, in_pieces(text, length), len(text.encode()))


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("length", [1, 2, 5, 49])
def test_pieces_of_a_text_do_not_matter(settings, length):
    whole, other = fit(settings, TEXT), fit(settings, TEXT, length)
    assert other.vocabulary == whole.vocabulary and other.to_json() == whole.to_json()
    expected, _ = encode(whole, [TEXT])
    np.testing.assert_array_equal(encode(other, in_pieces(TEXT, length))[0], expected)


@pytest.mark.parametrize("settings", SETTINGS[1:])
def test_characters_and_byte_pairs_lose_nothing(settings):
    found = fit(settings, TEXT)
    encoded, unknown = encode(found, [TEXT])
    assert found.decode(encoded.tolist()) == TEXT and unknown == 0


def test_words_are_separated_by_white_space_and_lines_end_in_eos():
    found = fit(tokenizer.TokenizerSettings("word"), TEXT)
    encoded, unknown = encode(found, [TEXT])
    expected = TEXT.replace("\n", " <eos> ").split()
    assert [found.vocabulary[n] for n in encoded] == expected and unknown == 0
    assert found.decode(encoded.tolist()).split() == TEXT.split()
    assert found.decode(encoded.tolist()).count("\n") == TEXT.count("\n")


@pytest.mark.parametrize(
    "kind, text, expected, num_unknown",
    [
        ("word", "a ß\n<unk>", ["a", "<unk>", "<eos>", "<unk>"], 1),
        ("char", "aß\n<", ["a", "<unk>", "\n", "<unk>"], 2),
    ],
)
def test_what_training_lacks_is_unknown(kind, text, expected, num_unknown):
    found = fit(tokenizer.TokenizerSettings(kind), "a b\n")
    encoded, unknown = encode(found, [text])
    assert [found.vocabulary[n] for n in encoded] == expected and unknown == num_unknown


@pytest.mark.parametrize("kind", tokenizer.CLASSES)
def test_saved_tokens_are_the_same_tokens(kind, tmp_path):
    found = fit(tokenizer.TokenizerSettings(kind, 270 if kind == "bpe" else None), TEXT)
    tokenizer.save(found, kind, tmp_path)
    loaded = tokenizer.load(kind, tmp_path)
    assert loaded.vocabulary == found.vocabulary and tokenizer.md5(loaded) == tokenizer.md5(found)
    np.testing.assert_array_equal(encode(loaded, [TEXT])[0], encode(found, [TEXT])[0])
    (tmp_path / tokenizer.FILES[kind]).write_text("{")
    with pytest.raises(UserError, match="missing or damaged"):
        tokenizer.load(kind, tmp_path)


@pytest.mark.parametrize(
    "min_count, size, expected",
    [
        (1, None, ["b", "a", "c", "d", "<unk>"]),
        (2, None, ["b", "a", "c", "<unk>"]),
        (1, 3, ["b", "<unk>", "a"]),
        (4, 2, ["<unk>", "b"]),
    ],
)
def test_vocabulary_is_ordered_by_count_and_the_rest_is_unknown(min_count, size, expected):
    counts = Counter("bbbbb" + "aaa" + "cc" + "d")
    assert vocabulary.choose(counts.items(), min_count, size) == expected


def test_literal_unknown_counts_as_unknown():
    assert vocabulary.choose({"<unk>": 3, "a": 4, "b": 2, "c": 2}.items(), size=2) == ["<unk>", "a"]


def test_vocabulary_without_bound_is_refused_above_the_largest(monkeypatch):
    monkeypatch.setattr(vocabulary, "MAX_SIZE", 4)
    counts = dict.fromkeys("abcd", 1)
    with pytest.raises(UserError, match=r"more than 4 words.*--vocab_size"):
        vocabulary.choose(counts.items())
    assert len(vocabulary.choose([*counts.items()][:3])) == 4
    assert len(vocabulary.choose(counts.items(), size=5)) == 5


def test_counts_are_exact_where_memory_does_not_hold_all_words(monkeypatch):
    monkeypatch.setattr(word_counts, "IN_MEMORY", 50)
    rng = np.random.default_rng(0)
    lists = [[f"w{n}" for n in rng.zipf(1.3, 40)] for _ in range(100)]
    expected = Counter(itertools.chain.from_iterable(lists))
    found = [*word_counts.count(lists)]
    assert len(found) == len(expected) > 500 and dict(found) == expected


def test_word_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(words, "MAX_LENGTH", 10)
    with pytest.raises(UserError, match=r"more than 10 characters.*'aaaaa"):
        [*words.split(["aaaaaa", "aaaaa"])]


def test_byte_pairs_learn_from_lines_drawn_evenly():
    lines = [f"{number:03d}\n" for number in range(1000)]
    drawn = [int(line) for line in byte_pairs.evenly(lines, 4000, 401)]
    assert len(drawn) == 100 and set(np.diff(drawn)) <= {9, 10} and drawn[0] < 10
    assert [*byte_pairs.evenly(lines, 4000, 4000)] == lines


def test_byte_pairs_forget_words_and_cut_lines(monkeypatch):
    found = fit(SETTINGS[2], TEXT)
    expected, _ = encode(found, [TEXT])
    monkeypatch.setattr(byte_pairs, "REMEMBERED", 3)
    np.testing.assert_array_equal(encode(found, in_pieces(TEXT, 9))[0], expected)
    line = "x" * (3 * byte_pairs.MAX_LINE + 1)
    assert [len(part) for part in next(byte_pairs.lines([line + "\n"]))] == [
        *[byte_pairs.MAX_LINE] * 3,
        2,
    ]


@pytest.mark.parametrize(
    "args, said",
    [
        (("word", 1, 1), "--vocab_size=1"),
        (("char", 1, 1), "--vocab_size=1"),
        (("bpe", 255, 1), "--vocab_size=255"),
        (("bpe", None, 2), "--min_count"),
    ],
)
def test_settings_that_cannot_be_are_refused(args, said):
    with pytest.raises(UserError, match=said):
        tokenizer.settings(*args)
