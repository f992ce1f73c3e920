"""A training run in a folder of its own: it begins there, or goes on from its last checkpoint."""

import contextlib
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from experiments.charts import losses as losses_chart
from experiments.lm import models, training
from experiments.lm.epoch import DivergenceError, Progress
from experiments.lm.settings import Settings
from experiments.record import checkpoints, interrupts, memory, processes, run_folder, trace
from experiments.record import tensorboard as tensorboard_log
from experiments.record.errors import UserError
from experiments.text import data, tokenizer

MODEL = ("cell", "embed_size", "state_size", "layers", "precision", "init_scale")
LOSSES, TENSORBOARD, PROFILE, DIVERGED = "losses.png", "tensorboard", "profile", "diverged"
TRACED_CALL = 2  # the first may still find cold caches
LOADED = {name: models.LanguageModel.__annotations__[name] for name in MODEL}
LOADED |= {"corpus": {"num_words": int}, "tokenizer": {"kind": str, "md5": str}}


class Trained(NamedTuple):
    """What a run has learnt."""

    model: models.LanguageModel
    params: Any  # of the epoch with the best validation loss
    tokenizer: tokenizer.Tokenizer


def config(settings: Settings, model: models.LanguageModel, corpus: data.Corpus) -> dict[str, Any]:
    """All that the losses depend on, but for versions, machine and JAX's settings."""
    resolved = settings._asdict()
    schedule = resolved.pop("schedule")._asdict()
    sizes = {name: getattr(model, name) for name in MODEL}
    num_tokens = {split: len(getattr(corpus, split)) for split in data.SPLITS}
    text = {"name": corpus.name, "md5": corpus.md5, "tokens": num_tokens}
    return schedule | resolved | sizes | {"corpus": text | {"num_words": len(corpus.vocabulary)}}


def train(
    workdir: Path,
    model: models.LanguageModel,
    corpus: data.Corpus,
    settings: Settings,
    began: Callable[[int, int], None],
    report: Callable[[training.Epoch], None],
    *,
    checkpoint_every: int | None = None,
    tensorboard: bool = False,
    profile: bool = False,
    mesh: Mesh | None = None,
) -> training.Result:
    """Trains for what is left of the epochs, and keeps the losses and the last state in `workdir`.

    A finished run goes on where `settings` have more epochs and nothing else depends on their
    number.

    `began` is told how many epochs were finished before, and how many updates of the next one;
    `report` of every new epoch. Where it stops, for whatever reason, losses.png shows the epochs
    that are finished.

    Args:
      workdir: the folder.
      model: what to train.
      corpus: on what.
      settings: how.
      began: called before the first update.
      report: called after each epoch.
      checkpoint_every: updates after which the state is kept within an epoch too.
      tensorboard: whether to write each epoch into `workdir`/tensorboard too.
      profile: whether to write a trace of some updates into `workdir`/profile.
      mesh: the devices of all processes; None for one device.

    Raises:
      UserError: the folder holds another run, or one that is damaged or goes on elsewhere.
    """
    text = training.cut(corpus, settings, mesh)
    start = functools.partial(training.start, model, text, settings)
    memory.check_fits(jax.eval_shape(start))
    progress = start(mesh)
    with contextlib.ExitStack() as stack:

        def begin():
            stack.enter_context(run_folder.alone(workdir))
            _begin(workdir, model, corpus, settings)

        processes.first_then_others("begin", begin)
        progress, epochs = _restored(workdir, corpus, progress)
        began(len(epochs), int(progress.position))
        log, wrap = _to_look_at(stack, workdir, epochs, tensorboard, profile)
        keep, keep_epoch = _keeping(workdir, text, epochs, log, report)
        with _divergence_kept(workdir, text):
            result = training.train(
                model, text, settings, progress, keep_epoch, keep, checkpoint_every, wrap, mesh
            )
        run_folder.write_metrics(workdir, [*epochs, result._asdict()])
    return result


def _begin(workdir, model, corpus, settings):
    """The folder with its config.json, or one that has the same."""
    of_tokenizer = corpus.settings._asdict() | {"md5": tokenizer.md5(corpus.tokenizer)}
    may_grow = ("num_epochs",) if settings.lr_schedule == "constant" else ()
    found = config(settings, model, corpus) | {"tokenizer": of_tokenizer}
    run_folder.begin(workdir, found, may_grow)


def _restored(workdir, corpus, progress):
    """The last progress that is kept, and the epochs before it; `progress` where there is none."""
    with interrupts.held_back():
        if processes.is_first():
            tokenizer.save(corpus.tokenizer, corpus.settings.kind, workdir)
        return run_folder.restore(workdir, progress)


def _keeping(workdir, text, epochs, log, report):
    """Two functions that keep a progress: at any time, and with the epoch that it ends."""

    def keep(progress: Progress):
        with interrupts.held_back():
            run_folder.save(workdir, _number(text, progress), progress, epochs)

    def keep_epoch(epoch: training.Epoch, progress: Progress):
        with interrupts.held_back():
            epochs.append(epoch.row())
            keep(progress)
            log(epochs[-1])
            report(epoch)

    return keep, keep_epoch


@contextlib.contextmanager
def _divergence_kept(workdir, text):
    """Where training fails, the state before that goes into a folder of its own."""
    try:
        yield
    except DivergenceError as error:
        where = workdir / DIVERGED
        checkpoints.save(where, _number(text, error.progress), error.progress, {}, None)
        raise UserError(f"{error} The state before that update is in {where}.") from None


def _number(text, progress):
    """Of a checkpoint: an epoch without a validation loss is another state than one with it."""
    return int(progress.epoch) * (text.train.num + 1) + int(progress.position)


def _to_look_at(stack, workdir, epochs, tensorboard, profile):
    """What the first process logs after each epoch, and how it calls the loop of updates."""
    log, wrap = lambda epoch: None, lambda train_loop: train_loop
    if not processes.is_first():
        return log, wrap
    stack.callback(_draw, epochs, workdir / LOSSES)
    if tensorboard:
        log = stack.enter_context(tensorboard_log.log(workdir / TENSORBOARD, epochs))
    if profile:
        wrap = functools.partial(trace.trace_call, workdir / PROFILE, TRACED_CALL)
    return log, wrap


def _draw(epochs, path):
    """The chart; where it cannot be written, what ended the run is what the user should read."""
    try:
        losses_chart.draw(epochs, path)
    except OSError as error:
        print(f"warning: {path} cannot be written ({error.strerror}).", file=sys.stderr)


def load(workdir: Path) -> Trained:
    """The best parameters of a run that is finished or was stopped, and what it takes to use them.

    Nothing is written.

    Raises:
      UserError: the folder holds no such run, or it is damaged or still goes on.
    """
    config = run_folder.config(workdir, LOADED)
    with run_folder.still(workdir):
        saved = run_folder.saved(workdir)
    if saved is None or not saved["best_epoch"]:
        raise UserError(f"the run in {workdir} has finished no epoch; let it go on.")
    num_words, kind = config["corpus"]["num_words"], config["tokenizer"]["kind"]
    model = models.LanguageModel(num_words, **{name: config[name] for name in MODEL})
    params = jax.tree.map(jnp.asarray, saved["best_params"])
    try:
        found = tokenizer.load(kind, workdir)
        like = jax.eval_shape(functools.partial(models.init_params, model), jax.random.key(0))
    except (LookupError, ArithmeticError, ValueError, TypeError) as error:
        raise UserError(f"{workdir / run_folder.CONFIG} is damaged: {error!r}.") from None
    if tokenizer.md5(found) != config["tokenizer"]["md5"]:
        raise UserError(f"{workdir / tokenizer.FILES[kind]} is not the one of this run.")
    if jax.tree.map(jnp.shape, params) != jax.tree.map(jnp.shape, like):
        raise UserError(f"the parameters in {workdir} are not of the model in config.json.")
    return Trained(model, params, found)
