"""An epoch's updates: a few compiled calls, and what is kept between them."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from experiments.record import interrupts, processes
from experiments.record.errors import UserError
from experiments.text.sequences import Sequences
from tbptt_jax import LearnerState

CALLS_PER_EPOCH = 20


class Progress(NamedTuple):
    """All that a run needs to go on after a call, for bit-identical results; arrays alone."""

    epoch: np.ndarray  # [], int32: epochs finished
    params: Any
    opt_state: Any
    best_epoch: np.ndarray  # [], int32
    best_valid_loss: np.ndarray  # [], float32
    best_params: Any
    position: np.ndarray  # [], int32: sequences of the next epoch that are done
    carry: Any  # after them
    total_loss: np.ndarray  # [], float64, over them
    num_skipped: np.ndarray  # [], int32: those of them whose update was left out
    choice: Any = None  # the horizon of that epoch, where it is chosen


class DivergenceError(UserError):
    """An update that is not finite, or of an absurd loss, and the progress before it."""

    def __init__(self, said: str, progress: Progress):
        super().__init__(said)
        self.progress = progress


class Calls(NamedTuple):
    """How an epoch's calls run, and what is done between them."""

    train_loop: Callable
    largest_loss: float  # of a call, the mean of its updates: above it training has failed
    skips: bool  # whether an update that is not finite is left out, instead of the end
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
      DivergenceError: the mean loss of a call is too large, or a loss or gradient is not finite; or
        where such updates are left out, all of the epoch are.
    """
    position, total = int(progress.position), float(progress.total_loss)
    kept, num_skipped = position, int(progress.num_skipped)

    def now():
        inside = inside_epoch(position, total, num_skipped)
        return progress._replace(**state._asdict(), **inside)

    caption = f"epoch {int(progress.epoch) + 1}"
    with kept_if_stopped(calls.keep, now), progress_bar(text, caption) as bar:
        bar.update(position * text.num_tokens_of_sequence)
        for part, num in text.slices(CALLS_PER_EPOCH, position):
            before = jax.tree.map(jnp.copy, state)
            with interrupts.held_back():
                stop = part.first + num
                state, metrics = calls.train_loop(state, (part, key), part.first, stop)
                if _is_sound(calls, metrics):
                    total += float(metrics.loss) * num
                else:
                    state = before
                    state, total, num_skipped = _one_by_one(calls, now(), (part, key), stop)
                position = stop
            if processes.are_several():
                interrupts.together(processes.largest)
            bar.update(num * text.num_tokens_of_sequence)
            if calls.keep_every and position - kept >= calls.keep_every and position < text.num:
                calls.keep(now())
                kept = position
    if num_skipped == text.num:
        said = f"all {num_skipped} updates of {caption} were skipped, since none is finite."
        raise DivergenceError(said, now())
    return now(), total / (text.num - num_skipped)


def inside_epoch(position, total_loss, num_skipped):
    """Where an epoch has come to, as `Progress` has it."""
    return {
        "position": np.asarray(position, np.int32),
        "total_loss": np.asarray(total_loss),
        "num_skipped": np.asarray(num_skipped, np.int32),
    }


def _is_sound(calls, metrics):
    return metrics.loss <= calls.largest_loss and np.isfinite(metrics.grad_norm)


def _one_by_one(calls, progress, source, stop):
    """A call's updates one at a time, those left out that may be: state, total, number left out.

    Raises:
      DivergenceError: from the progress before the first update that may not be left out.
    """
    state = LearnerState(progress.params, progress.opt_state, progress.carry)
    first, total, num_skipped = (
        x.item() for x in (progress.position, progress.total_loss, progress.num_skipped)
    )
    for i in range(first, stop):
        before = state
        state, metrics = calls.train_loop(jax.tree.map(jnp.copy, state), source, i, i + 1)
        if _is_sound(calls, metrics):
            total += float(metrics.loss)
            continue
        if not calls.skips or (np.isfinite(metrics.loss) and np.isfinite(metrics.grad_norm)):
            inside = inside_epoch(i, total, num_skipped)
            raise _diverged(calls, progress._replace(**before._asdict(), **inside), metrics)
        state, num_skipped = before, num_skipped + 1
    return state, total, num_skipped


def _diverged(calls, progress, metrics):
    what = f"epoch {int(progress.epoch) + 1}"
    return DivergenceError(
        f"the training loss of {what} is {metrics.loss:.4g} at update {progress.position + 1} of "
        f"{what}, its gradient's norm {metrics.grad_norm:.4g}; a guess among all words has a loss "
        f"of {calls.largest_loss / 10:.3g}. A smaller --learning_rate or --clip_norm may help.",
        progress,
    )


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
