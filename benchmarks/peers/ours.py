"""The peer that the others are compared with: `truncated_scan` and the loss in blocks.

`full` is `lax.scan` with that loss; `true-optax` is `truncated_scan` with optax's loss, on whole
logits: the two tell what the loss is worth from what the scan is.
"""

import functools

from benchmarks import worker
from benchmarks.peers import jax_model as model
from tbptt_jax import linear_softmax_cross_entropy, truncated_scan


def _loss_in_blocks(params, ys, targets):
    kernel, bias = params["readout_kernel"], params["readout_bias"]
    return linear_softmax_cross_entropy(ys, kernel, bias, targets)


def _build(style, mean_loss, problem, horizon):
    schedule = {
        "full": {"horizon": None},
        "true": {"horizon": horizon},
        "epochwise": {"horizon": horizon, "stride": horizon},
    }[style]

    def loss(params, tokens, targets):
        step = functools.partial(model.cell, params)
        projected = model.project(params, tokens)
        _, ys = truncated_scan(step, model.initial(params, tokens), projected, **schedule)
        return mean_loss(params, ys, targets)

    return model.compiled_step(loss, problem)


STYLES = ("full", "true", "epochwise")
VARIANTS = {style: functools.partial(_build, style, _loss_in_blocks) for style in STYLES}
VARIANTS["true-optax"] = functools.partial(_build, "true", model.mean_loss)

if __name__ == "__main__":
    worker.serve(VARIANTS, model.VERSIONS)
