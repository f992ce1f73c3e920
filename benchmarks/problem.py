"""The work that every peer does: a small language model's weights and one batch of words.

    hₛ = tanh(E[tokenₛ] W_x + hₛ₋₁ W_h + b),   h₋₁ = 0
    loss = mean of -log softmax(hₛ W + c)[targetₛ] over the T·B words

One step is the loss and its gradients for the six parameters. Only NumPy is imported here, so that
workers in every environment can read it.
"""

from typing import NamedTuple

import numpy as np


class Setting(NamedTuple):
    """Sizes, and how many steps back an error reaches, its own included."""

    batch: int
    steps: int
    horizon: int
    state: int
    embed: int
    vocab: int


SETTINGS = {
    "article": Setting(200, 40, 20, 4, 50, 10000),  # the article's timing of its own code
    "table": Setting(32, 40, 20, 100, 50, 10000),  # the article's table of losses
}
# Where the state is 4, errors fade by a factor of about 3 a step: float32 cannot see whether they
# were cut at the horizon. Here it can.
TINY = Setting(batch=3, steps=12, horizon=4, state=8, embed=5, vocab=30)

PARAMETERS = (
    "embedding",  # [V, M], E
    "input_kernel",  # [M, N], W_x
    "recurrent_kernel",  # [N, N], W_h
    "bias",  # [N], b
    "readout_kernel",  # [N, V], W
    "readout_bias",  # [V], c
)


def make(setting: Setting, seed: int) -> dict[str, np.ndarray]:
    """Random parameters (`PARAMETERS`, float32) with `tokens` and `targets` ([T, B], int32).

    Kernels are uniform in ±√(3 / fan_in), as those of `experiments/lm/models.py`. Biases are not
    zero, so that a peer that forgets one is found out.
    """
    rng = np.random.default_rng(seed)
    _, _, _, N, M, V = setting

    def uniform(fan_in, *shape):
        return (rng.uniform(-1.0, 1.0, shape) * (3.0 / fan_in) ** 0.5).astype(np.float32)

    words = lambda: rng.integers(V, size=(setting.steps, setting.batch), dtype=np.int32)
    return {
        "embedding": uniform(V, V, M),
        "input_kernel": uniform(M + N, M, N),
        "recurrent_kernel": uniform(M + N, N, N),
        "bias": uniform(300, N),
        "readout_kernel": uniform(N, N, V),
        "readout_bias": uniform(300, V),
        "tokens": words(),
        "targets": words(),
    }
