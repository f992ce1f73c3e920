"""Are the gradients what they should be, on the article's model and text?

  python -m experiments.gradcheck --corpus=ptb

The article's test: a batch of 200 sequences of 7 words, a state of 4, dropout that keeps 0.8. With
a horizon of 7 the true style must give the epochwise gradients for embedding, kernels and biases.
Its own check is one-sided and absolute, max(a - b) < 1e-4, a fifth to a third of the max-norm of
the kernels' gradients; here it is the maximum error relative to each array's max-norm, in float32
and in float64. `truncated_scan` (sweeps) is `lax.scan` where the horizon is as long as the
sequence, so its 0 says little; the definition (windows), where each window of steps is run and
differentiated alone, is what this tests. All 28 pairs of horizon and stride of `truncated_scan` are
then compared with the definition.

Exits with 1, and leaves earlier results as they are, where one is not within 1e-5 (float32) or
1e-12 (float64). Two minutes on two CPU cores. To expect: errors below 1e-6 and about 1e-15.
"""

import functools
import sys
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.lm import models, training
from experiments.lm.loss import make_loss
from experiments.lm.settings import BACKWARDS, Settings
from experiments.lm.styles import Schedule
from experiments.record import launch, results
from experiments.text import flags as text_flags
from experiments.text.sequences import Slice, sequences

flags.declare_key_flag("out")
flags.declare_key_flag("corpus")
flags.declare_key_flag("data_dir")

NUM_STEPS, BATCH, KEEP_PROB = 7, 200, 0.8
TOLERANCES = {"float32": 1e-5, "float64": 1e-12}
EPOCHWISE = Schedule("epochwise", NUM_STEPS, NUM_STEPS, NUM_STEPS)
TRUE = Schedule("true", NUM_STEPS, 1, NUM_STEPS)


def gradients(model: models.LanguageModel, batch: Any, plan: Schedule, backward: str, dtype: str):
    """The gradients of one batch, (tokens, targets), for embedding and cell."""
    settings = Settings(plan, batch_size=BATCH, keep_prob=KEEP_PROB, backward=backward)
    loss_fn = make_loss(model, settings)
    source = Slice(*(leaf[None] for leaf in batch)), jax.random.key(1)
    arrays = (
        models.init_params(model, jax.random.key(0)),
        models.init_carry(model, BATCH),
        training.train_batch(model, settings, source, 0),
    )
    cast = lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
    params, carry, sequence = jax.tree.map(cast, arrays)
    grads = jax.jit(jax.grad(loss_fn, has_aux=True))(params, carry, sequence)[0]
    leaves = jax.tree_util.tree_leaves_with_path({k: grads[k] for k in ("embedding", "recurrence")})
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def errors(actual: dict[str, jax.Array], expected: dict[str, jax.Array]) -> dict[str, float]:
    """The maximum error of each array, relative to its max-norm."""
    largest = lambda a, b: jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b))
    return {name: float(largest(actual[name], expected[name])) for name in expected}


def largest_of(found: Iterable[float]) -> float:
    """The largest; nan where one is, which Python's `max` may pass over."""
    return float(np.max([*found]))


def check_article(grads_of, dtype: str) -> dict[str, Any]:
    """The article's test, for `truncated_scan` and for the definition."""
    epochwise = grads_of(EPOCHWISE, "sweeps", dtype)
    found = {}
    for backward in BACKWARDS:
        true = grads_of(TRUE, backward, dtype)
        relative = errors(true, epochwise)
        print(f"true style beside epochwise, {NUM_STEPS} of {NUM_STEPS} steps, {backward}, {dtype}")
        for name, error in relative.items():
            size = float(jnp.max(jnp.abs(epochwise[name])))
            one_sided = float(jnp.max(true[name] - epochwise[name]))
            print(f"  {name:20s} {error:8.1e}  max-norm {size:.2e}  max(a - b) {one_sided:.1e}")
        found[backward] = relative
    return found


def check_all(grads_of, dtype: str) -> list[dict[str, Any]]:
    """Every horizon and stride, beside the definition."""
    rows = []
    for horizon in range(1, NUM_STEPS + 1):
        for stride in range(1, horizon + 1):
            plan = Schedule("semi", horizon, stride, NUM_STEPS)
            grads, expected = (grads_of(plan, backward, dtype) for backward in BACKWARDS)
            error = largest_of(errors(grads, expected).values())
            rows.append({"horizon": horizon, "stride": stride, "error": error})
        row = " ".join(f"{row['error']:.1e}" for row in rows[-horizon:])
        print(f"horizon {horizon}, stride 1 to {horizon}, {dtype}: {row}", flush=True)
    return rows


def main():
    out = results.folder()
    corpus = text_flags.corpus_from_flags()
    first = sequences(corpus.train, BATCH, NUM_STEPS, "train").read(0, 1)
    model = models.LanguageModel(len(corpus.vocabulary), embed_size=50, state_size=4)
    batch = first.inputs[0], first.targets[0]
    grads_of = functools.partial(gradients, model, batch)
    found, failed = {"corpus": corpus.name, "tolerances": TOLERANCES}, []
    for dtype, tolerance in TOLERANCES.items():
        with jax.enable_x64(dtype == "float64"):
            article, rows = check_article(grads_of, dtype), check_all(grads_of, dtype)
        found[dtype] = {"article": article, "all": rows}
        of_article = [e for each in article.values() for e in each.values()]
        largest = largest_of([*of_article, *(row["error"] for row in rows)])
        print(f"largest error in {dtype}: {largest:.1e}, must be within {tolerance:g}")
        if not largest <= tolerance:
            failed.append(dtype)
    if failed:
        sys.exit(f"FAILED in {' and '.join(failed)}.")
    results.write(out, "gradcheck", found)


if __name__ == "__main__":
    launch.run(main)
