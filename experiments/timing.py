"""What does the true style cost? The article's timing, for the definition and for the sweeps.

  python -m experiments.timing --corpus=ptb

Loss and gradients of one batch of 200 sequences of 40 words, state 4, horizon 20, no dropout. The
article measured 173 ms for its true style, one backward graph for each error, and 80.2 ms for full
BPTT: 2.16 times. Here the definition, one window of steps for each error, and `truncated_scan`'s
sweeps are timed in alternation with full BPTT; what counts is the ratio within a round, median over
the rounds of several processes (quartiles), since a process can be twice as slow as the next from
its start to its end. A minute on two CPU cores that do nothing else. To expect: the sweeps cost no
more than full BPTT, since the readout of 10,000 words dominates; the definition 4 to 7 times that.
"""

import statistics
from collections.abc import Callable
from itertools import chain
from typing import Any

import jax
from absl import flags

from experiments.charts import timing as timing_chart
from experiments.lm import models
from experiments.lm.loss import make_loss
from experiments.lm.settings import Settings
from experiments.lm.styles import schedule
from experiments.record import alternation, launch, results
from experiments.text import flags as text_flags
from experiments.text.sequences import sequences

flags.declare_key_flag("out")
flags.declare_key_flag("corpus")
flags.declare_key_flag("data_dir")
flags.DEFINE_integer("processes", 5, "Processes, one after the other.", lower_bound=1)
flags.adopt_module_key_flags(alternation)

BATCH, NUM_STEPS, HORIZON, EMBED, STATE = 200, 40, 20, 50, 4
ARTICLE_MS = {"full": 80.2, "true": 173.0}
TRUE = schedule("true", HORIZON, seq_len=NUM_STEPS)
CALLS = {
    "full": (schedule("full", seq_len=NUM_STEPS), "sweeps"),
    "true, by sweeps": (TRUE, "sweeps"),
    "true, by the definition": (TRUE, "windows"),
}


def gradients(model: models.LanguageModel, plan: Any, backward: str, batch: Any) -> Callable:
    """A call without arguments that computes loss and gradients of one batch, compiled."""
    settings = Settings(plan, batch_size=BATCH, keep_prob=1.0, backward=backward)
    run = jax.jit(jax.value_and_grad(make_loss(model, settings), has_aux=True))
    params = models.init_params(model, jax.random.key(0))
    tokens, targets = batch
    args = params, models.init_carry(model, BATCH), (models.Inputs(tokens), targets)
    return lambda: run(*args)


def measure(batch: Any, num_words: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of every call in every round."""
    model = models.LanguageModel(num_words, EMBED, STATE)
    calls = {name: gradients(model, *how, batch) for name, how in CALLS.items()}
    return alternation.alternate(calls, rounds, repeats=3)


def main():
    values, out = flags.FLAGS, results.folder()
    corpus = text_flags.corpus_from_flags()
    first = sequences(corpus.train, BATCH, NUM_STEPS, "train").read(0, 1)
    args = (first.inputs[0], first.targets[0]), len(corpus.vocabulary), values.rounds
    processes = [alternation.in_new_process(measure, *args) for _ in range(values.processes)]
    times = {name: [seconds[name] for seconds in processes] for name in CALLS}
    rows = []
    for name, each in times.items():
        ms = [alternation.milliseconds(seconds) for seconds in each]
        ratio = alternation.ratios([*chain(*each)], [*chain(*times["full"])])
        low, median, high = ratio
        print(
            f"{name:24s} {median:5.2f} ({low:.2f}-{high:.2f}) times full  "
            f"{statistics.median(ms):7.1f} ms ({min(ms):.1f}-{max(ms):.1f})"
        )
        rows.append({"name": name, "ratio": ratio, "milliseconds": ms})
    article = ARTICLE_MS["true"] / ARTICLE_MS["full"]
    print(
        f"the article's true style {article:5.2f}              times full  {ARTICLE_MS['true']} ms"
    )
    found = {"corpus": corpus.name, "processes": values.processes, "rounds": values.rounds}
    found |= {"article_ms": ARTICLE_MS, "rows": rows}
    found = results.write(out, "timing", found)
    timing_chart.draw(found, out / "timing.png")


if __name__ == "__main__":
    launch.run(main)
