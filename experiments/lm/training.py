"""Training on sequences: the loop over epochs."""

import functools
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jax.typing import ArrayLike

from experiments.lm import adaptive, models, optimizers
from experiments.lm import mesh as devices
from experiments.lm.epoch import (
    Calls,
    Progress,
    compile_loop,
    inside_epoch,
    kept_if_stopped,
    train_epoch,
)
from experiments.lm.evaluation import make_evaluate
from experiments.lm.loss import first_carry
from experiments.lm.settings import Settings
from experiments.record.errors import UserError
from experiments.text.data import SPLITS, Corpus
from experiments.text.sequences import EveryToken, Sequences, sequences
from tbptt_jax import LearnerState, make_train_loop

BEST = "best_epoch", "best_valid_loss", "best_params"


class Data(NamedTuple):
    """Each text as sequences, which are read where they are needed."""

    train: Sequences
    valid: Sequences
    test: Sequences


class Epoch(NamedTuple):
    """The outcome of one epoch; losses in nats per token."""

    epoch: int  # from 1
    train_loss: float
    valid_loss: float
    tokens_per_second: float  # of training alone, since the run went on; 0 if nothing was left
    seconds: float  # with validation, since the run went on where it was stopped in the epoch
    num_skipped: int = 0  # updates that were left out, since they were not finite
    choice: dict[str, Any] | None = None  # of the horizon, where it is chosen

    def row(self) -> dict[str, Any]:
        """A line of metrics.jsonl."""
        row = self._asdict()
        if not self.num_skipped:
            del row["num_skipped"]
        return row | (row.pop("choice") or {})


class Result(NamedTuple):
    """The outcome of a run; losses in nats per token."""

    best_epoch: int
    best_valid_loss: float
    test_loss: float  # of the parameters of the best epoch


def train_batch(model: models.LanguageModel, settings: Settings, source: Any, i: ArrayLike):
    """The i-th sequence of a text, with dropout's masks; `source` is (slice that has it, key)."""
    part, key = source
    tokens, targets = part.inputs[i - part.first], part.targets[i - part.first]
    key = jax.random.fold_in(key, i)
    return models.dropout_inputs(model, key, tokens, settings.keep_prob), targets


def cut(corpus: Corpus, settings: Settings, mesh: Mesh | None = None) -> Data:
    """The texts as sequences, of which a process reads its own streams.

    Raises:
      UserError: a text is too short for one sequence.
    """
    sizes = settings.batch_size, settings.schedule.seq_len
    own = devices.own_streams(mesh, settings.batch_size)
    data = Data(*(sequences(getattr(corpus, name), *sizes, name) for name in SPLITS))
    data = Data(*(part._replace(own=own) for part in data))
    if settings.evaluate != "all":
        return data
    return data._replace(valid=EveryToken(*data.valid), test=EveryToken(*data.test))


def make_optimizer(text: Data, settings: Settings) -> optax.GradientTransformation:
    """The optimizer, whose learning rate follows its schedule over all updates of the run.

    Raises:
      UserError: see `optimizers.make`.
    """
    return optimizers.make(settings, settings.num_epochs * text.train.num)


def start(
    model: models.LanguageModel, text: Data, settings: Settings, mesh: Mesh | None = None
) -> Progress:
    """A run before its first epoch."""
    params = models.init_params(model, jax.random.fold_in(jax.random.key(settings.seed), 0))
    opt_state = make_optimizer(text, settings).init(params)
    params, opt_state = devices.place(mesh, (params, opt_state))
    carry = devices.place_carry(mesh, model, settings, first_carry(model, settings))
    zero = np.zeros((), np.int32)
    best = zero, np.full((), np.inf, np.float32), params
    choice = adaptive.nothing_chosen(settings)
    return Progress(zero, params, opt_state, *best, zero, carry, np.zeros(()), zero, choice)


def is_finished(progress: Progress, settings: Settings) -> bool:
    """Whether all epochs are done, or `patience` of them brought no better validation loss."""
    epoch, patience = int(progress.epoch), settings.patience
    if patience is not None and epoch - int(progress.best_epoch) >= patience:
        return True
    return epoch >= settings.num_epochs


def train(
    model: models.LanguageModel,
    text: Data,
    settings: Settings,
    progress: Progress,
    report: Callable[[Epoch, Progress], None],
    keep: Callable[[Progress], None] = lambda progress: None,
    keep_every: int | None = None,
    wrap: Callable[[Callable], Callable] = lambda train_loop: train_loop,
    mesh: Mesh | None = None,
) -> Result:
    """Trains for the epochs that are left, reports each, and tests the best one's parameters.

    The carry is zero at the start of an epoch, and an epoch's random numbers depend on the seed and
    its number alone; so a run can go on from any progress as if it had never stopped. Within an
    epoch `keep` is given it after the call in which `keep_every` updates are reached, and where
    Ctrl-C or SIGTERM stops the run, at the end of a call. `wrap` is given the compiled loop of
    updates, and returns what is called in its place.

    Raises:
      UserError: a loss is not finite, or far above that of a guess.
    """
    batch_fn = functools.partial(train_batch, model, settings)
    optimizer = make_optimizer(text, settings)
    choose = adaptive.make_choose(model, settings, text.train, batch_fn)
    evaluate = make_evaluate(model, settings, mesh)

    @functools.cache
    def loop_of(settings):
        loss_fn = devices.make_loss(mesh, model, settings)
        loop = devices.taking_own_streams(
            mesh, settings.batch_size, make_train_loop(loss_fn, optimizer, batch_fn)
        )
        compile_loop(loop, text.train, *_begin_epoch(model, settings, progress, mesh))
        return loop

    train_loop = lambda *args: loop_of(adaptive.of_epoch(settings, progress))(*args)
    largest, skips = 10 * math.log(model.vocab_size), settings.on_nonfinite == "skip"
    calls = Calls(wrap(train_loop), largest, skips, keep, keep_every)
    while not is_finished(progress, settings):
        state, key = _begin_epoch(model, settings, progress, mesh)
        progress = choose(progress, key)
        loop_of(adaptive.of_epoch(settings, progress))  # compiled before the clock starts
        began = time.perf_counter()
        num_tokens = (text.train.num - int(progress.position)) * text.train.num_tokens_of_sequence
        progress, train_loss = train_epoch(calls, state, text.train, key, progress)
        trained = time.perf_counter()
        with kept_if_stopped(keep, lambda progress=progress: progress):
            valid_loss = float(evaluate(progress.params, text.valid))
        times = num_tokens / (trained - began), time.perf_counter() - began
        done = _outcome(progress, train_loss, valid_loss, *times)
        _check(done, calls.largest_loss)
        progress = _end_epoch(progress, done)
        report(done, progress)
    test_loss = float(evaluate(progress.best_params, text.test))
    return Result(int(progress.best_epoch), float(progress.best_valid_loss), test_loss)


def _begin_epoch(model, settings, progress, mesh):
    """The learner where the next epoch begins or goes on, and that epoch's key."""
    key = devices.epoch_key(mesh, settings.seed, int(progress.epoch) + 1)
    carry = progress.carry
    if not progress.position:
        carry = devices.place_carry(mesh, model, settings, first_carry(model, settings))
    # The calls donate their state, and `progress` must live on.
    copies = jax.tree.map(jnp.copy, (progress.params, progress.opt_state, carry))
    return LearnerState(*copies), key


def _outcome(progress, train_loss, valid_loss, rate, seconds):
    """Of the epoch that `progress` is at the end of."""
    choice = progress.choice.row() if progress.choice else None
    losses = int(progress.epoch) + 1, train_loss, valid_loss
    return Epoch(*losses, rate, seconds, int(progress.num_skipped), choice)


def _end_epoch(progress, done):
    """The progress after an epoch, which may be the best so far."""
    epoch = np.asarray(done.epoch, np.int32)
    if done.valid_loss < progress.best_valid_loss:
        best = epoch, np.asarray(done.valid_loss, np.float32), progress.params
        progress = progress._replace(**dict(zip(BEST, best, strict=True)))
    return progress._replace(epoch=epoch, **inside_epoch(0, 0.0, 0))


def _check(done, largest):
    if not done.valid_loss <= largest:
        skipped = f" ({done.num_skipped} updates skipped)" if done.num_skipped else ""
        raise UserError(
            f"the validation loss of epoch {done.epoch}{skipped} is {done.valid_loss:.4g}, where a "
            f"guess among all words has {largest / 10:.3g}; a smaller --learning_rate may help."
        )
