"""Counts the sweeps that `tol` leaves out in training on a text, and the time that this saves.

    python -m benchmarks.tol --corpus=ptb

The article's model learns under BPTT(20; 1) in sequences of 40. Before the first epoch, after one
and after three, the gradients of the next sequences are taken with and without `tol`, of these
lengths and of longer ones with a higher limit: of the language model, and of its recurrence alone,
where the errors on the outputs are those of the language model's loss. The gradient that ends
after i sweeps is that of horizon i + 1, so the horizon whose gradient is nearest tells i. Times are
of calls in alternation. Ten minutes on two cores; the numbers go into --out.
"""

import functools
import itertools
import statistics

import jax
import jax.numpy as jnp
from absl import flags

from benchmarks.worker import THREADS
from experiments.lm import models, training
from experiments.lm.loss import make_loss
from experiments.lm.settings import Settings
from experiments.lm.styles import schedule
from experiments.record import alternation, launch, results
from experiments.text import flags as text_flags
from experiments.text.sequences import sequences
from tbptt_jax import LearnerState, make_train_loop, truncated_scan

flags.declare_key_flag("out")
flags.adopt_module_key_flags(alternation)
flags.adopt_module_key_flags(text_flags)

SETTINGS = Settings(schedule("true", bptt=20))
EPOCHS = 0, 1, 3
LIMITS = (20, 40), (50, 200)  # the horizon, and the steps of a sequence
TOLERANCES = 0.1, 0.01, 0.001
COUNTED = 5  # sequences whose sweeps are counted


def learn(model, corpus):
    """Yields (epochs finished, state) where the sweeps are looked at."""
    text = sequences(corpus.train, SETTINGS.batch_size, SETTINGS.schedule.seq_len, "train")
    optimizer = training.make_optimizer(training.cut(corpus, SETTINGS), SETTINGS)
    batch_fn = functools.partial(training.train_batch, model, SETTINGS)
    train_loop = make_train_loop(make_loss(model, SETTINGS), optimizer, batch_fn, donate=False)
    data, params = text.read(0, text.num), models.init_params(model, jax.random.key(0))
    state = LearnerState(params, optimizer.init(params), None)
    for epoch in itertools.count():
        state = state._replace(carry=models.init_carry(model, SETTINGS.batch_size))
        if epoch in EPOCHS:
            yield epoch, state
        if epoch == max(EPOCHS):
            return
        source = data, jax.random.fold_in(jax.random.key(1), epoch)
        state, _ = train_loop(state, source, 0, text.num)


def gradients(model, horizon):
    """(language model, its recurrence alone): each maps params, carry and batch to a value.

    Both take the options of `truncated_scan`; a batch of the recurrence has errors for targets.
    """
    run = lambda params, carry, inputs, options: truncated_scan(
        functools.partial(models.step, model, params), carry, inputs, horizon=horizon, **options
    )[1]

    def language_model(params, carry, batch, **options):
        inputs, targets = batch
        return models.mean_loss(params, run(params, carry, inputs, options), targets)

    def recurrence(params, carry, batch, **options):
        inputs, errors = batch
        return jnp.vdot(run(params, carry, inputs, options), errors)

    return language_model, recurrence


def errors_on_outputs(model, params, carry, batch):
    """[T, B, N], of the language model's loss."""
    inputs, targets = batch
    ys = jax.lax.scan(functools.partial(models.step, model, params), carry, inputs)[1]
    return jax.grad(lambda ys: models.mean_loss(params, ys, targets))(ys)


def num_sweeps(gradient, horizon):
    """(params, carry, batch) -> how many sweeps are run at each tolerance."""
    flat = lambda tree: jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])

    @jax.jit
    def count(*args):
        grad = lambda **options: flat(jax.grad(gradient)(*args, **options))
        ends = [grad(tol=tol) for tol in TOLERANCES]

        def distances(lags):
            of_lags = grad(lag_weights=(jnp.arange(horizon) < lags).astype(jnp.float32))
            return jnp.stack([jnp.linalg.norm(of_lags - end) for end in ends])

        return jnp.argmin(jax.lax.map(distances, jnp.arange(1, horizon + 1)), axis=0)

    return count


def look(model, state, text, horizon, rounds):
    """Sweeps and times at one limit, in rows; printed."""
    batch_fn = jax.jit(functools.partial(training.train_batch, model, SETTINGS))
    source = jax.device_put(text.read(0, COUNTED)), jax.random.key(2)
    batches = [batch_fn(source, i) for i in range(COUNTED)]
    of = jax.jit(functools.partial(errors_on_outputs, model, state.params, state.carry))
    given = [(inputs, of((inputs, targets))) for inputs, targets in batches]
    language_model, recurrence = gradients(model, horizon)
    count = num_sweeps(recurrence, horizon)
    counts = [count(state.params, state.carry, batch).tolist() for batch in given]
    times = {
        "language_model": times_beside_all_sweeps(language_model, state, batches[0], rounds),
        "recurrence": times_beside_all_sweeps(recurrence, state, given[0], rounds),
    }
    for tol, sweeps in zip(TOLERANCES, zip(*counts, strict=True), strict=True):
        used = [min(sweeps), statistics.median(sweeps), max(sweeps)]
        print(f"  limit {horizon} of {text.seq_len} steps, tol {tol:g}: {used[1]:g}", end=" ")
        print(f"({used[0]}-{used[2]}) of {horizon - 1} sweeps; times as long:", end=" ")
        of_tol = {name: ratios[tol] for name, ratios in times.items()}
        print(", ".join(f"{name} {r[1]:.2f} ({r[0]:.2f}-{r[2]:.2f})" for name, r in of_tol.items()))
        yield {"horizon": horizon, "steps": text.seq_len, "tol": tol, "sweeps": used} | of_tol


def times_beside_all_sweeps(gradient, state, batch, rounds):
    """Quartiles of the ratio of times, by tolerance."""
    args = state.params, state.carry, batch

    def call(tol):
        grad = jax.jit(jax.grad(functools.partial(gradient, tol=tol)))
        return functools.partial(grad.lower(*args).compile(), *args)

    seconds = alternation.alternate({str(tol): call(tol) for tol in (0.0, *TOLERANCES)}, rounds)
    return {tol: alternation.ratios(seconds[str(tol)], seconds["0.0"]) for tol in TOLERANCES}


def main() -> None:
    """Trains, counts, times, writes."""
    out, rounds, corpus = results.folder(), flags.FLAGS.rounds, text_flags.corpus_from_flags()
    model = models.LanguageModel(len(corpus.vocabulary), **models.ARTICLE_SIZES)
    rows = []
    for epoch, state in learn(model, corpus):
        print(f"after {epoch} epochs:")
        for horizon, steps in LIMITS:
            text = sequences(corpus.train, SETTINGS.batch_size, steps, "train")
            rows += [{"epochs": epoch} | row for row in look(model, state, text, horizon, rounds)]
    report = {"corpus": corpus.name, "rounds": rounds, "counted": COUNTED, "rows": rows}
    results.write(out, "tol", report)


if __name__ == "__main__":
    launch.run(main, num_cores=THREADS)
