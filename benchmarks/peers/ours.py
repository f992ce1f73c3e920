"""The peer that the others are compared with: `tbptt_jax.truncated_scan`."""

import functools

from benchmarks import worker
from benchmarks.peers import jax_model as model
from tbptt_jax import linear_softmax_cross_entropy, truncated_scan


def _build(style, problem, horizon):
    schedule = {
        "full": {"horizon": None},
        "true": {"horizon": horizon},
        "epochwise": {"horizon": horizon, "stride": horizon},
    }[style]

    def loss(params, tokens, targets):
        step = functools.partial(model.cell, params)
        projected = model.project(params, tokens)
        _, ys = truncated_scan(step, model.initial(params, tokens), projected, **schedule)
        return linear_softmax_cross_entropy(
            ys, params["readout_kernel"], params["readout_bias"], targets
        )

    return model.compiled_step(loss, problem)


VARIANTS = {name: functools.partial(_build, name) for name in ("full", "true", "epochwise")}

if __name__ == "__main__":
    worker.serve(VARIANTS, model.VERSIONS)
