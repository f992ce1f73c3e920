"""Trains a recurrent language model on text with any style of truncated BPTT.

  python -m experiments.ptb --style=true --bptt=20

reads the Penn Treebank if it is found (--data_dir, or the user's cache folder; see
experiments.download_ptb) and otherwise the text embedded in CPython.

  python -m experiments.ptb --text=FILE --split=90,5,5 --tokens=bpe

reads any UTF-8 text, of any size: its tokens are kept in the user's cache folder, and training
reads a slice of them at a time.

It prints the losses of each epoch, in nats per token, and writes them to --workdir, with a plot,
losses.png; a run that was stopped goes on when the same command names the same --workdir, and
`python -m experiments.sample` writes text with its parameters. On two CPU cores an epoch takes a
second on the embedded text and about a minute on the Penn Treebank, where three epochs at the
default settings come to a validation loss of 5.35.

  python -m experiments.ptb --bptt=auto --bias=0.1

measures before each epoch how errors decay, and trains with the shortest of the horizons 5, 10, 20
and 40 (--seq_len and its halves) whose gradients have a relative bias below a tenth, by its bound
(`tbptt_jax.truncation_bias`).

The default model and its training are the article's (Adam at a constant rate, no clipping), but for
the state, which is carried on clean. By default the horizon is 20, and a semi-epochwise stride half
of it. A sequence has as many steps as the horizon if epochwise, 20, 30 or 40 for the true style
with horizons 5, 10 and 20, 40 for full BPTT, and else twice the horizon.
"""

import functools
import math
import shlex
import sys
import time
from pathlib import Path

from absl import flags

from experiments.lm import adaptive, mesh, run, styles, training
from experiments.lm import flags as common
from experiments.lm.settings import Settings
from experiments.record import files, joining, launch, processes, trace
from experiments.record.errors import UserError
from experiments.text import flags as text_flags

flags.DEFINE_integer(
    "checkpoint_every",
    None,
    "Updates after which the state is kept within an epoch too, at the end of a compiled call; at "
    "the end of an epoch it always is.",
    lower_bound=1,
)
flags.DEFINE_bool("tensorboard", False, "Write the epochs for TensorBoard, into the workdir.")
flags.DEFINE_bool(
    "profile", False, "Write a JAX trace of a twentieth of the first epoch's updates."
)
for module in (common, mesh, joining):
    flags.adopt_module_key_flags(module)
FLAGS = flags.FLAGS

LARGEST_PERPLEXITY = 1e6  # that is printed as a number


def main():
    settings = common.settings_from_flags()
    corpus = text_flags.corpus_from_flags()
    print(corpus, flush=True)
    model = common.model_from_flags(corpus)
    on = mesh.mesh_from_flags(model, settings)
    left_out = _left_out(training.cut(corpus, settings))
    workdir = common.workdir_from_flags() or _new(settings)
    header = f"{model.cell} RNN, {_schedule(settings)}; results in {workdir}\n{_details(settings)}"
    header += f"\n{left_out}"
    try:
        with files.removed_if_empty(workdir):
            result = run.train(
                workdir,
                model,
                corpus,
                settings,
                began=functools.partial(_print_start, header, settings.num_epochs),
                report=functools.partial(_print_epoch, settings.bias),
                checkpoint_every=FLAGS.checkpoint_every,
                tensorboard=FLAGS.tensorboard,
                profile=FLAGS.profile,
                mesh=on,
            )
    except KeyboardInterrupt as stop:
        raise type(stop)(f"what was learnt is kept; go on with: {_again(workdir)}") from None
    _print_result(result, settings)
    if FLAGS.tensorboard:
        print(f"TensorBoard: tensorboard --logdir={workdir / run.TENSORBOARD}")
    if FLAGS.profile:
        path = trace.trace_file(workdir / run.PROFILE)
        where = f"open {path} in https://ui.perfetto.dev" if path else "none, no update was made"
        print(f"profile: {where}")


def _new(settings: Settings) -> Path:
    """A new folder in runs/.

    Raises:
      UserError: several processes would each make one.
    """
    if processes.are_several():
        raise UserError("several processes need one --workdir, in a folder that all of them see.")
    schedule = settings.schedule
    horizon = schedule.horizon if settings.bias is None else styles.AUTO
    name = f"{schedule.style}-{horizon}-{schedule.stride}-in-{schedule.seq_len}"
    when = time.strftime("%Y%m%d-%H%M%S")
    return files.new_folder(Path("runs"), f"{name}-seed-{settings.seed}-{when}")


def _again(workdir: Path) -> str:
    """The command that goes on with this run."""
    args = sys.argv[1:] if FLAGS.workdir else [*sys.argv[1:], f"--workdir={workdir}"]
    return shlex.join(["python", "-m", "experiments.ptb", *args])


def _schedule(settings: Settings) -> str:
    """How far errors reach."""
    early = ""
    if settings.tol is not None:
        early = f"; sweeps end once less than {settings.tol:g} of the errors is still carried back"
    if settings.bias is None:
        return f"{settings.schedule}{early}"
    seq_len = settings.schedule.seq_len
    members = ", ".join(map(str, styles.horizons(seq_len)))
    return (
        f"true BPTT: before each epoch the shortest horizon of {members} whose relative bias is "
        f"below {settings.bias:g}, in sequences of {seq_len}{early}"
    )


def _details(settings: Settings) -> str:
    """What the line of the schedule does not say."""
    changed = " ".join(common.changed("seams", "carry", "learning_rate", "cell"))
    rest = f"apart from the defaults: {changed}" if changed else "all else by default"
    named = f"seams {settings.seams}, carry {settings.carry}"
    return f"{named}, learning rate {settings.learning_rate:g}; {rest}"


def _left_out(text: training.Data) -> str:
    """How many tokens no loss is of."""
    counts = ", ".join(f"{name} {part.num_left_out:,}" for name, part in text._asdict().items())
    return f"tokens left out, since they do not fill a sequence: {counts}"


def _print_start(header: str, num_epochs: int, num_finished: int, num_updates: int) -> None:
    print(header)
    if num_finished or num_updates:
        within = f" and {num_updates} updates of the next" if num_updates else ""
        print(f"going on after epoch {num_finished} of {num_epochs}{within}")
    print("epoch   train   perplexity   valid   perplexity   tokens/s   seconds", flush=True)


def _print_epoch(tolerance: float | None, epoch: training.Epoch) -> None:
    train, valid = (f"{x:6.3f}   {_perplexity(x):>10s}" for x in epoch[1:3])
    rate = f"{epoch.tokens_per_second:9,.0f}   {epoch.seconds:7.1f}"
    chosen = ""
    if epoch.choice is not None and tolerance is not None:
        bound = epoch.choice["relative_bias"]
        said = "no bound" if bound is None else f"relative bias at most {bound:.2g}"
        chosen = f"   horizon {epoch.choice['horizon']}, {said}"
        if warning := adaptive.warning(epoch.choice, tolerance):
            print(f"warning: epoch {epoch.epoch}: {warning}.", file=sys.stderr)
    left_out = f"   {epoch.num_skipped} updates skipped" if epoch.num_skipped else ""
    print(f"{epoch.epoch:5d}  {train}  {valid}  {rate}{left_out}{chosen}", flush=True)


def _print_result(result: training.Result, settings: Settings) -> None:
    last = result.best_epoch + (settings.patience or settings.num_epochs)
    if last < settings.num_epochs:
        print(f"stopped after epoch {last}: {settings.patience} without a better validation loss")
    print(
        f"best validation loss {result.best_valid_loss:.3f} (perplexity "
        f"{_perplexity(result.best_valid_loss)}) in epoch {result.best_epoch}; "
        f"test loss of those parameters {result.test_loss:.3f} "
        f"(perplexity {_perplexity(result.test_loss)})"
    )


def _perplexity(loss: float) -> str:
    """As it is printed: exp(loss), or that it is large."""
    if loss > math.log(LARGEST_PERPLEXITY):
        return f">{LARGEST_PERPLEXITY:.0e}".replace("+0", "")
    return f"{math.exp(loss):.1f}"


if __name__ == "__main__":
    launch.run(main)
