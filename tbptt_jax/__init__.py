"""Truncated backpropagation through time for JAX: `lax.scan` with a bounded gradient horizon."""

from tbptt_jax._backward.lag_weights import draw_lag_weights
from tbptt_jax._devices.time_sharded_scan import time_sharded_scan
from tbptt_jax._lags.bias import (
    AdaptiveHorizon,
    TruncationBias,
    adaptive_horizon,
    truncation_bias,
)
from tbptt_jax._lags.dyadic import dyadic_lag_spectrum
from tbptt_jax._lags.spectrum import LagSpectrum, effective_horizon, lag_spectrum
from tbptt_jax._linear_scan import truncated_linear_scan
from tbptt_jax._losses.cross_entropy import linear_softmax_cross_entropy
from tbptt_jax._scan import truncated_scan
from tbptt_jax._step.boundary_factors import draw_boundary_factors, with_boundary_factors
from tbptt_jax._step.wrappers import with_mask, with_resets
from tbptt_jax._streams.scan import stream_scan
from tbptt_jax._streams.state import StreamState, init_stream
from tbptt_jax._training.learner import LearnerState, Metrics
from tbptt_jax._training.steps import (
    make_eval_step,
    make_online_loop,
    make_train_loop,
    make_train_step,
)
from tbptt_jax._windows import windowed_value_and_grad

__version__ = "0.1.0"
__all__ = [
    "AdaptiveHorizon",
    "LagSpectrum",
    "LearnerState",
    "Metrics",
    "StreamState",
    "TruncationBias",
    "adaptive_horizon",
    "draw_boundary_factors",
    "draw_lag_weights",
    "dyadic_lag_spectrum",
    "effective_horizon",
    "init_stream",
    "lag_spectrum",
    "linear_softmax_cross_entropy",
    "make_eval_step",
    "make_online_loop",
    "make_train_loop",
    "make_train_step",
    "stream_scan",
    "time_sharded_scan",
    "truncated_linear_scan",
    "truncated_scan",
    "truncation_bias",
    "windowed_value_and_grad",
    "with_boundary_factors",
    "with_mask",
    "with_resets",
]
