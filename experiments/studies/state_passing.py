"""Does a model that is trained on short pieces hold up on long text, and what makes it do so?

  python -m experiments.studies.state_passing --corpus=ptb

Buitrago Ruiz and Gu (2025) find that recurrent models fail beyond their training length because
they have never met the states of long text, and that 500 updates which start from the last state of
another text cure it. Here a linear recurrent unit and a GRU learn characters in pieces of 128 steps
(experiments.tasks.long_text). All ways see the same pieces in the same order and start from the
same parameters. A piece starts from zero; from zero in the first 1000 updates, and then from the
last state of another stream; or from that of its own stream, with cut or exact seams. Cut seams
pass the state alone; with exact ones errors reach 97 to 128, or 385 to 512, steps back.

Measured: the loss on the test text by position after a start from zero, at the same characters for
all positions. A model holds up if its loss at positions 8,192 to 16,383 is at most `MARGIN` nats
per character above that at 64 to 127, a margin stated before the run. It is the state that does it
if models with cut seams hold up and those that start from zero do not; the gradient if exact seams
are needed. If models that start from zero hold up, there is nothing to explain.

All seeds of a cell and a way learn in one program, one to four minutes on one CPU core. A finished
program's numbers are a JSON in the folder state_passing of --scratch, and are not found again.
"""

import functools
import itertools
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.charts import state_passing as state_passing_chart
from experiments.record import kept, launch, results, seeds
from experiments.record.errors import UserError
from experiments.tasks import long_text
from experiments.tasks.long_text import OTHER, OWN, ZERO, Way
from experiments.text import data
from experiments.text import flags as text_flags

TASK = long_text.Task()
CELLS = ("lru", "gru")
T = TASK.piece
BESIDE = "own state, seams cut"  # what differences are from
WAYS = {
    "zero state": Way(ZERO, T, T),
    "zero state, then another text's": Way(OTHER, T, T, zero_for=1000),
    BESIDE: Way(OWN, T, T),
    "seams exact, horizon 128": Way(OWN, T, T // 4),
    "seams exact, horizon 512": Way(OWN, 4 * T, T),
}
LENGTHS = tuple(2**i for i in range(14))  # positions n to 2n - 1
NEAR = 64  # positions 64 to 127, the second half of a piece
NUM_BLOCKS = 4  # of the longest length: the characters that losses are of
MARGIN = 0.01  # nats per character
DEFAULTS = {"num_seeds": 5, "tokens": "char"}

flags.declare_key_flag("out")
flags.declare_key_flag("scratch")
flags.declare_key_flag("corpus")
flags.declare_key_flag("data_dir")
flags.declare_key_flag("text")
flags.declare_key_flag("split")
flags.adopt_module_key_flags(seeds)


def num_asked(corpus: data.Corpus) -> int:
    """How many characters losses are of: those of the test text behind the longest length.

    Raises:
      UserError: the text is too short for one block of them.
    """
    longest, length = LENGTHS[-1], len(corpus.test)
    num_blocks = min(NUM_BLOCKS, (length - 1) // longest - 1)
    if num_blocks < 1:
        raise UserError(
            f"the test text has {length:,} characters, and {2 * longest + 1:,} are needed; "
            "--corpus=embedded has enough."
        )
    return num_blocks * longest


def learn(cell: str, way: Way, corpus: data.Corpus, num_seeds: int) -> dict[str, list]:
    """{"loss" and "size" [seeds][lengths]} on the test text."""
    model = long_text.make_model(TASK, cell, len(corpus.vocabulary))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), jnp.arange(num_seeds))
    start = functools.partial(long_text.start, TASK, model, way)
    train = jax.jit(jax.vmap(long_text.make_train(TASK, model, way), (0, None, 0, None, None)))
    evaluate = jax.jit(jax.vmap(long_text.make_evaluate(model), (0, None)))
    text, test = jnp.asarray(corpus.train[:]), jnp.asarray(corpus.test[:])
    state = train(jax.jit(jax.vmap(start))(keys), text, keys, 0, TASK.num_updates)
    windows = lambda length: long_text.windows(test, length, LENGTHS[-1], num_asked(corpus))
    found = [evaluate(state.params, windows(length)) for length in LENGTHS]
    loss, size = (results.rounded(np.stack(each, axis=1)) for each in zip(*found, strict=True))
    return {"loss": loss, "size": size}


def row(folder: Path, cell: str, name: str, corpus: data.Corpus, num_seeds: int) -> dict[str, Any]:
    """What a cell learns in a way, kept in `folder` once it is finished."""
    where = {"cell": cell, "name": name, "way": WAYS[name]._asdict()}
    whole = {"task": TASK._asdict(), "lengths": LENGTHS, "num_blocks": NUM_BLOCKS}
    whole |= {"corpus": corpus.name, "md5": corpus.md5, "num_seeds": num_seeds}
    path = folder / f"{cell}-{re.sub('[^a-z0-9]+', '-', name)}.json"
    shape = num_seeds, len(LENGTHS)
    holds = {"loss": shape, "size": shape}
    find = lambda: learn(cell, WAYS[name], corpus, num_seeds)
    return where | kept.kept(path, where | whole, find, holds)


def main():
    out, num_seeds = results.folder(), flags.FLAGS.num_seeds
    folder = kept.folder("state_passing")
    corpus = text_flags.corpus_from_flags()
    places = [*map(LENGTHS.index, (NEAR, LENGTHS[-1]))]
    print(f"{corpus}\n{num_seeds} seeds, {num_asked(corpus):,} characters of the test text")
    spans = "  ".join(f"{f'{LENGTHS[i]}-{2 * LENGTHS[i] - 1}':>10s}" for i in places)
    print(f"cell  a piece starts from        loss at {spans}    rise", flush=True)
    rows = []
    for cell, name in itertools.product(CELLS, WAYS):
        rows.append(row(folder, cell, name, corpus, num_seeds))
        near, far = np.mean(rows[-1]["loss"], axis=0)[places]
        print(f"{cell:4s}  {name:32s}  {near:10.4f}  {far:10.4f}  {far - near:+z.4f}", flush=True)
    found = {"task": TASK._asdict(), "lengths": LENGTHS, "near": NEAR, "margin": MARGIN}
    found |= {"beside": BESIDE}
    found |= {"corpus": corpus.name, "num_asked": num_asked(corpus), "num_seeds": num_seeds}
    results.write(out, "state_passing", found | {"rows": rows})
    state_passing_chart.draw(found | {"rows": rows}, out / "state_passing.png")


if __name__ == "__main__":
    launch.run(main)
