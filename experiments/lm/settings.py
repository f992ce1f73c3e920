"""How a language model is trained: everything but the model and the text."""

from typing import NamedTuple

from experiments.lm.styles import Schedule

BACKWARDS = ("sweeps", "windows")
CARRIES = ("clean", "dropped")
SEAMS = ("cut", "exact")
EVALUATED = ("sequences", "all")
ON_NONFINITE = ("stop", "skip")


class Settings(NamedTuple):
    """How to train; everything but the model and the text."""

    schedule: Schedule
    learning_rate: float = 0.001  # the highest of its schedule
    num_epochs: int = 20
    batch_size: int = 32
    keep_prob: float = 0.8
    carry: str = "clean"
    seams: str = "cut"
    backward: str = "sweeps"
    seed: int = 0
    optimizer: str = "adam"
    lr_schedule: str = "constant"
    warmup_updates: int | None = None  # a tenth of the run's if None
    epsilon: float | None = None  # of Adam and its kin; optax's default if None
    clip_norm: float | None = None  # of the whole gradient
    weight_decay: float | None = None  # the optimizer's own default if None
    evaluate: str | None = None  # "all": every token, not those alone that fill sequences
    on_nonfinite: str | None = None  # "skip": an update that is not finite is left out
    patience: int | None = None  # epochs without a better validation loss that end the run
    bias: float | None = None  # of gradients, relative; the horizon is chosen below it
    tol: float | None = None  # where sweeps end; None for all of them
