"""Trains a recurrent language model on text with any style of truncated BPTT.

  python -m experiments.ptb --style=true --bptt=20

reads the Penn Treebank if it is found (--data_dir, or the user's cache folder; see
experiments.download_ptb) and otherwise the text embedded in CPython.

  python -m experiments.ptb --text=FILE --split=90,5,5 --tokens=bpe

reads any UTF-8 text, of any size: its tokens are kept in the user's cache folder, and training
reads a slice of them at a time.

It prints the losses of each epoch, in nats per token, and writes them to --workdir; a run that was
stopped goes on when the same command names the same --workdir, and `python -m experiments.sample`
writes text with its parameters. On two CPU cores an epoch takes a second on the embedded text and
about a minute on the Penn Treebank, where three epochs at the default settings come to a validation
loss of 5.35.

By default the horizon is 20, and a semi-epochwise stride half of it. A sequence has as many steps
as the horizon if epochwise, 20, 30 or 40 for the true style with horizons 5, 10 and 20, 40 for full
BPTT, and else twice the horizon.
"""

import functools
import math
import time
from pathlib import Path

from absl import flags

from experiments.lm import flags as common
from experiments.lm import models, run
from experiments.record import files, launch

flags.adopt_module_key_flags(common)
FLAGS = flags.FLAGS


def main():
    settings = common.settings_from_flags()
    schedule = settings.schedule
    corpus = common.corpus_from_flags()
    print(corpus, flush=True)
    model = models.LanguageModel(
        len(corpus.vocabulary), FLAGS.embed_size, FLAGS.state_size, FLAGS.cell
    )
    workdir = common.workdir_from_flags()
    if workdir is None:
        name = f"{schedule.style}-{schedule.horizon}-{schedule.stride}-in-{schedule.seq_len}"
        when = time.strftime("%Y%m%d-%H%M%S")
        workdir = files.new_folder(Path("runs"), f"{name}-seed-{settings.seed}-{when}")
    result = run.train(
        workdir,
        model,
        corpus,
        settings,
        began=functools.partial(_print_start, workdir, model, settings),
        report=_print_epoch,
    )
    print(
        f"best validation loss {result.best_valid_loss:.3f} (perplexity "
        f"{_perplexity(result.best_valid_loss):.1f}) in epoch {result.best_epoch}; "
        f"test loss of those parameters {result.test_loss:.3f} "
        f"(perplexity {_perplexity(result.test_loss):.1f})"
    )


def _print_start(workdir, model, settings, num_finished):
    print(f"{model.cell} RNN, {settings.schedule}; results in {workdir}")
    if num_finished:
        print(f"going on after epoch {num_finished} of {settings.num_epochs}")
    print("epoch   train   perplexity   valid   perplexity   tokens/s   seconds", flush=True)


def _print_epoch(epoch):
    train, valid = (f"{x:6.3f}   {_perplexity(x):10.1f}" for x in epoch[1:3])
    rate = f"{epoch.tokens_per_second:9,.0f}   {epoch.seconds:7.1f}"
    print(f"{epoch.epoch:5d}  {train}  {valid}  {rate}", flush=True)


def _perplexity(loss):
    return math.exp(min(loss, 700.0))


if __name__ == "__main__":
    launch.run(main)
