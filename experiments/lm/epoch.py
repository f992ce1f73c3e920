"""An epoch's updates: a few compiled calls, and what is kept between them."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from experiments.record import interrupts
from experiments.record.errors import UserError
from experiments.text.sequences import Sequences
from tbptt_jax import LearnerState

CALLS_PER_EPOCH = 20


class Progress(NamedTuple):
    """All that a run needs to go on after a call, for bit-identical results; arrays alone."""

    epoch: jax.Array  # [], int32: epochs finished
    params: Any
    opt_state: Any
    best_epoch: jax.Array  # [], int32
    best_valid_loss: jax.Array  # [], float32
    best_params: Any
    position: jax.Array  # [], int32: sequences of the next epoch that are done
    carry: Any  # after them
    total_loss: np.ndarray  # [], float64, over them
    choice: Any = None  # the horizon of that epoch, where it is chosen


class DivergenceError(UserError):
    """A loss that is not finite, or absurd, and the progress before the update that has it."""

    def __init__(self, said: str, progress: Progress):
        super().__init__(said)
        self.progress = progress


class Calls(NamedTuple):
    """How an epoch's calls run, and what is done between them."""

    train_loop: Callable
    largest_loss: float  # above it training has failed
    keep: Callable[[Progress], None]
    keep_every: int | None


def compile_loop(
    train_loop: Callable, text: Sequences, state: LearnerState, key: jax.Array
) -> None:
    """Compiles the loop as `train_epoch` calls it, without an update; `state` is donated."""
    part, _ = next(text.slices(CALLS_PER_EPOCH))
    train_loop(state, (part, key), 0, 0)


def train_epoch(
    calls: Calls, state: LearnerState, text: Sequences, key: jax.Array, progress: Progress
) -> tuple[Progress, float]:
    """Trains on the epoch's sequences that are left: the progress after them, the mean loss of all.

    Args:
      calls: see there.
      state: the learner, at `progress`; it is donated.
      text: the training text.
      key: the epoch's.
      progress: where the epoch begins or goes on.

    Raises:
      DivergenceError: a call's mean loss is not finite, or too large.
    """
    position, total = int(progress.position), float(progress.total_loss)
    kept, what = position, f"epoch {int(progress.epoch) + 1}"

    def now():
        inside = {"position": jnp.int32(position), "total_loss": np.asarray(total)}
        return progress._replace(**state._asdict(), **inside)

    with kept_if_stopped(calls.keep, now), progress_bar(text, what) as bar:
        bar.update(position * text.num_tokens_of_sequence)
        for part, num in text.slices(CALLS_PER_EPOCH, position):
            before = jax.tree.map(jnp.copy, state)
            with interrupts.held_back():
                stop = part.first + num
                state, metrics = calls.train_loop(state, (part, key), part.first, stop)
                loss = float(metrics.loss)
                if not loss <= calls.largest_loss:
                    state = before
                    raise _diverged(calls, now(), (part, key), stop, what)
                position, total = stop, total + loss * num
            bar.update(num * text.num_tokens_of_sequence)
            if calls.keep_every and position - kept >= calls.keep_every and position < text.num:
                calls.keep(now())
                kept = position
    return now(), total / text.num


def _diverged(calls, progress, source, stop, what):
    """The error that names the first update whose loss is too large, from the one before it."""
    state = LearnerState(progress.params, progress.opt_state, progress.carry)
    for i in range(int(progress.position), stop):
        progress = progress._replace(**state._asdict(), position=jnp.int32(i))
        state, metrics = calls.train_loop(jax.tree.map(jnp.copy, state), source, i, i + 1)
        if not metrics.loss <= calls.largest_loss or i == stop - 1:
            return DivergenceError(
                f"the training loss of {what} is {metrics.loss:.4g} at update {i + 1} of {what}, "
                f"its gradient's norm {metrics.grad_norm:.4g}; a guess among all words has a loss "
                f"of {calls.largest_loss / 10:.3g}. A smaller --learning_rate or --clip_norm may "
                "help.",
                progress,
            )
    raise AssertionError


@contextlib.contextmanager
def kept_if_stopped(
    keep: Callable[[Progress], None], now: Callable[[], Progress]
) -> Iterator[None]:
    """Where Ctrl-C or SIGTERM ends the block, the progress at that time is kept."""
    try:
        yield
    except KeyboardInterrupt:
        keep(now())
        raise


def progress_bar(text: Sequences, caption: str) -> tqdm:
    """Of the tokens of a text, on a terminal."""
    return tqdm(
        total=text.num_tokens,
        desc=caption,
        unit=" tokens",
        unit_scale=True,
        leave=False,
        disable=None,
    )
