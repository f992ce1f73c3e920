"""The cutting of a text into sequences, and of these into slices."""

import math

import numpy as np
import pytest

from experiments.record.errors import UserError
from experiments.text import sequences as lm_sequences
from experiments.text import token_file
from experiments.text.sequences import EveryToken, sequences
from experiments.text.token_file import TokenFile


@pytest.mark.parametrize(
    "batch_size, seq_len, total", [(2, 3, 17), (3, 4, 30), (1, 5, 6), (4, 1, 8)]
)
def test_sequences_are_contiguous_streams_with_targets_shifted_by_one(batch_size, seq_len, total):
    text = sequences(np.arange(total, dtype=np.uint8), batch_size, seq_len, "train")
    inputs, targets, _ = text.read(0, text.num)
    length = total // batch_size
    assert inputs.shape == targets.shape == ((length - 1) // seq_len, seq_len, batch_size)
    assert inputs.dtype == targets.dtype == np.int32 and inputs.size == text.num_tokens
    np.testing.assert_array_equal(targets, inputs + 1)
    for stream in range(batch_size):
        followed = inputs[:, :, stream].ravel()
        np.testing.assert_array_equal(followed, stream * length + np.arange(followed.size))


@pytest.mark.parametrize(
    "batch_size, seq_len, total",
    [(2, 3, 17), (3, 4, 30), (1, 5, 6), (4, 1, 9), (4, 2, 6), (5, 3, 7)],
)
def test_every_token_but_the_first_is_a_target_once(batch_size, seq_len, total):
    text = EveryToken(np.arange(total, dtype=np.uint8), batch_size, seq_len)
    inputs, targets, _ = text.read(0, text.num)
    assert inputs.shape == targets.shape == (text.num, seq_len, batch_size)
    is_target = targets >= 0
    np.testing.assert_array_equal(targets[is_target], inputs[is_target] + 1)
    assert sorted(targets[is_target]) == list(range(1, total))
    for stream in range(batch_size):
        followed = targets[:, :, stream].ravel()
        num = np.sum(followed >= 0)
        assert np.all(followed[num:] == -1) and np.all(np.diff(followed[:num]) == 1)
    some, _, first = text.read(1, 2, 3)
    assert some.shape[0] == 3 and first == 1
    np.testing.assert_array_equal(some[0], inputs[1] if text.num > 1 else 0)
    slices = np.concatenate([part.targets[:num] for part, num in text.slices(2)])
    np.testing.assert_array_equal(slices, targets)


def test_tokens_that_are_left_out_are_counted():
    assert sequences(np.arange(17), 2, 3, "train").num_left_out == 16 - 12
    assert EveryToken(np.arange(17), 2, 3).num_left_out == 0


def test_text_too_short_for_the_batch_is_refused():
    with pytest.raises(UserError, match=r"5 tokens.*batch of 2 .* 2 \+ 1 tokens needs 6"):
        sequences(np.arange(5), 2, 2, "train")
    assert sequences(np.arange(6), 2, 2, "train").num == 1


@pytest.mark.parametrize("least, largest, num_slices", [(1, 1000, 1), (20, 1000, 20), (3, 42, 17)])
def test_slices_of_one_shape_are_all_sequences_in_order(
    tmp_path, monkeypatch, least, largest, num_slices
):
    monkeypatch.setattr(lm_sequences, "SLICE_TOKENS", largest)
    tokens = np.arange(700, dtype=np.uint16)
    token_file.write(tmp_path / "tokens.npy", np.array_split(tokens, 7), tokens.dtype)
    in_memory = sequences(tokens, 2, 7, "train")
    expected = in_memory.read(0, in_memory.num)
    slices = [*sequences(TokenFile(tmp_path / "tokens.npy"), 2, 7, "train").slices(least)]
    assert len(slices) == num_slices and len({part.inputs.shape for part, _ in slices}) == 1
    assert slices[0][0].inputs.size <= max(largest, math.ceil(in_memory.num / least) * 14)
    position = 0
    for part, num in slices:
        assert part.first == position
        np.testing.assert_array_equal(part.inputs[:num], expected.inputs[position:][:num])
        np.testing.assert_array_equal(part.targets[:num], expected.targets[position:][:num])
        position += num
    assert position == in_memory.num


def test_no_more_slices_than_sequences():
    text = sequences(np.arange(8), 1, 2, "train")
    assert [num for _, num in text.slices(20)] == [1, 1, 1]
