"""Times the loss and the training step of the language model against the machine's own speed.

    python -m benchmarks.training_step

The yardstick is a float32 product of two 2048 x 2048 matrices, timed in alternation with the rest:
what share of its rate do the necessary operations reach? Counted are the products of the readout
and of the cell, forward and backward (3 · 2 · T·B · (N·V + N·(N + M))), one pass of errors back;
the sweeps of true truncated BPTT, dropout, Adam and the embedding take time and count for nothing.
The text is random words, as many as 600 sequences of the Penn Treebank have. Two minutes on two
cores; the numbers go into --out.
"""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

from benchmarks.worker import THREADS
from experiments.lm import models, training
from experiments.lm.loss import make_loss
from experiments.lm.settings import Settings
from experiments.lm.styles import schedule
from experiments.record import alternation, launch, results
from experiments.text.sequences import Slice
from tbptt_jax import LearnerState, linear_softmax_cross_entropy, make_train_loop

flags.declare_key_flag("out")
flags.adopt_module_key_flags(alternation)

DEFAULTS = {"rounds": 30}
VOCAB, BATCH = 10_000, 32
EMBED, STATE = models.ARTICLE_SIZES.values()
PRODUCT = 2048
PRODUCT_OPS = 2 * PRODUCT**3
SEQUENCES_A_CALL = 10
SCHEDULES = {
    "full": schedule("full", seq_len=40),
    "true": schedule("true", bptt=20),
    "epochwise": schedule("epochwise", bptt=20),
}


def product():
    """One call of the yardstick."""
    matrix = jax.random.normal(jax.random.key(0), (PRODUCT, PRODUCT))
    return functools.partial(jax.jit(jnp.matmul), matrix, matrix)


def losses(num_tokens: int, state: int):
    """(in blocks, on whole logits): calls for the loss and its gradients."""
    keys = jax.random.split(jax.random.key(1), 3)
    inputs = jax.random.normal(keys[0], (num_tokens, state))
    kernel = jax.random.normal(keys[1], (state, VOCAB)) / state**0.5
    labels = jax.random.randint(keys[2], (num_tokens,), 0, VOCAB)

    def in_blocks(inputs, kernel, bias):
        return linear_softmax_cross_entropy(inputs, kernel, bias, labels)

    def whole(inputs, kernel, bias):
        logits = inputs @ kernel + bias
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))

    grad = lambda fun: jax.jit(jax.value_and_grad(fun, argnums=(0, 1, 2)))
    return (
        functools.partial(grad(f), inputs, kernel, jnp.zeros(VOCAB)) for f in (in_blocks, whole)
    )


def trainer(plan):
    """A call that trains on the next sequences, as the experiments do, and its first seconds."""
    model = models.LanguageModel(VOCAB, EMBED, STATE)
    settings = Settings(plan, batch_size=BATCH)
    shape = 2, 600, plan.seq_len, BATCH
    words = np.random.default_rng(0).integers(VOCAB, size=shape, dtype=np.int32)
    data = Slice(*jax.device_put(words))
    optimizer = optax.adam(settings.learning_rate)
    params = models.init_params(model, jax.random.key(0))
    kept = [LearnerState(params, optimizer.init(params), models.init_carry(model, BATCH))]
    batch_fn = functools.partial(training.train_batch, model, settings)
    train_loop = make_train_loop(make_loss(model, settings), optimizer, batch_fn)

    def run():
        source = data, jax.random.key(2)
        kept[0], metrics = train_loop(kept[0], source, 0, SEQUENCES_A_CALL)
        return metrics.loss

    began = time.perf_counter()
    jax.block_until_ready(run())
    return run, time.perf_counter() - began


def time_losses(rounds: int) -> list[dict]:
    """The loss in blocks at two sizes; printed."""
    found = []
    for num_tokens, state in ((1280, 100), (8000, 4)):
        blocks, whole = losses(num_tokens, state)
        seconds = alternation.alternate({"product": product(), "blocks": blocks}, rounds)
        beside = alternation.alternate({"blocks": blocks, "whole": whole}, max(1, rounds // 3))
        ops = 3 * 2 * num_tokens * state * VOCAB
        share = alternation.ratios(seconds["product"], seconds["blocks"], ops / PRODUCT_OPS)
        ratio = alternation.ratios(beside["whole"], beside["blocks"])
        ms = alternation.milliseconds(seconds["blocks"])
        print(f"loss, {num_tokens} tokens, N {state}: {ms:.1f} ms, {share[1]:.0%} of the product's")
        print(
            f"  rate ({share[0]:.0%}-{share[2]:.0%}); whole logits take {ratio[1]:.2f} times that"
        )
        row = {"tokens": num_tokens, "state": state, "milliseconds": ms}
        found.append(row | {"share": share, "whole_over_blocks": ratio})
    return found


def time_training(rounds: int) -> dict[str, dict]:
    """The training step by style; printed."""
    trainers = {name: trainer(plan) for name, plan in SCHEDULES.items()}
    calls = {"product": product()} | {name: run for name, (run, _) in trainers.items()}
    seconds = alternation.alternate(calls, rounds)
    found = {}
    for name, plan in SCHEDULES.items():
        ops = 3 * 2 * plan.seq_len * BATCH * STATE * (VOCAB + STATE + EMBED) * SEQUENCES_A_CALL
        share = alternation.ratios(seconds["product"], seconds[name], ops / PRODUCT_OPS)
        ratio = alternation.ratios(seconds[name], seconds["full"])
        ms = alternation.milliseconds(seconds[name]) / SEQUENCES_A_CALL
        first = trainers[name][1]
        print(f"{plan}: {ms:.1f} ms a sequence, {share[1]:.0%} of the product's rate")
        print(f"  ({share[0]:.0%}-{share[2]:.0%}), {ratio[1]:.3f} ({ratio[0]:.3f}-{ratio[2]:.3f})")
        print(f"  times full; its first call took {first:.1f} s")
        row = {"milliseconds": round(ms, 3), "share": share, "over_full": ratio}
        found[name] = row | {"first_call_seconds": round(first, 2)}
    return found


def main() -> None:
    """Times, prints, writes."""
    out, rounds = results.folder(), flags.FLAGS.rounds
    report = {"rounds": rounds, "loss": time_losses(rounds), "training": time_training(rounds)}
    results.write(out, "training_step", report)


if __name__ == "__main__":
    launch.run(main, num_cores=THREADS)
