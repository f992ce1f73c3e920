"""How a language model is trained: everything but the model and the text."""

from typing import NamedTuple

from experiments.lm.styles import Schedule

BACKWARDS = ("sweeps", "windows")
CARRIES = ("clean", "dropped")
SEAMS = ("cut", "exact")


class Settings(NamedTuple):
    """How to train; everything but the model and the text."""

    schedule: Schedule
    learning_rate: float = 0.001
    num_epochs: int = 20
    batch_size: int = 32
    keep_prob: float = 0.8
    carry: str = "clean"
    seams: str = "cut"
    backward: str = "sweeps"
    seed: int = 0
