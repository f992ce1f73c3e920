"""What does not fit `linear_softmax_cross_entropy` fails in one line."""

import re

import jax
import jax.numpy as jnp
import pytest
from readout import N, V, problem

from tbptt_jax import linear_softmax_cross_entropy

GOOD = ((5, N), (N, V), (V,), (5,))


BAD = {
    "kernel": (((5, N), (N + 1, V), (V,), (5,)), "must be [..., N], [N, V], [V] and [...], got"),
    "bias": (((5, N), (N, V), (V + 1,), (5,)), "got [5, 3], [3, 7], [8], [5]."),
    "labels": (((5, N), (N, V), (V,), (4,)), "got [5, 3], [3, 7], [7], [4]."),
    "no features": (((), (N, V), (V,), ()), "got [], [3, 7], [7], []."),
}


@pytest.mark.parametrize("shapes, text", BAD.values(), ids=BAD)
def test_shapes_that_do_not_fit_fail_in_one_line(shapes, text):
    *operands, labels = map(jnp.zeros, shapes)
    with pytest.raises(ValueError, match="linear_softmax") as raised:
        linear_softmax_cross_entropy(*operands, labels.astype(int))
    message = str(raised.value)
    assert message.startswith("linear_softmax_cross_entropy: inputs, kernel, bias and labels")
    assert text in message and "\n" not in message


@pytest.mark.parametrize(
    "change, text",
    [
        ({"labels": jnp.zeros(5)}, "labels must be integers, got float32."),
        ({"bias": jnp.zeros(V, jnp.float32)}, "must have one floating-point dtype"),
        ({"token_weights": jnp.zeros(3)}, "token_weights must broadcast to labels, [5], got [3]."),
        ({"labels": jnp.full(5, V)}, "labels must be in 0..6, got 7."),
        ({"labels": jnp.array([0, 1, -1, 2, 3])}, "labels must be in 0..6, got -1."),
        ({"token_weights": 1j * jnp.ones(5)}, "token_weights must be real, got complex"),
        ({"token_weights": jax.random.key(0)}, "token_weights must be real, got key<fry>."),
        ({"inputs": None}, "inputs must be an array, got NoneType."),
        ({"token_weights": {}}, "token_weights must be an array, got dict."),
        ({"block_size": 0}, "block_size must be >= 1, got 0."),
        ({"block_size": 2.5}, "block_size must be a static integer, got 2.5."),
        ({"reduction": "avg"}, "reduction must be one of mean, sum, none, got 'avg'."),
        ({"block_size": True}, "block_size must be a static integer, got True."),
        ({"vocab_axis": 3}, "vocab_axis must be an axis of jax.shard_map around the call, got 3."),
        ({"vocab_axis": ()}, "an axis of jax.shard_map around the call, got ()."),
        ({"vocab_axis": ["v"]}, "an axis of jax.shard_map around the call, got ['v']."),
    ],
)
def test_wrong_arguments_fail_in_one_line(change, text):
    names = "inputs", "kernel", "bias", "labels", "token_weights"
    arguments = dict(zip(names, problem((5,)), strict=True)) | change
    with pytest.raises((ValueError, TypeError), match=re.escape(text)) as raised:
        linear_softmax_cross_entropy(**arguments)
    assert str(raised.value).startswith("linear_softmax_cross_entropy: ")
    assert "\n" not in str(raised.value)
