"""Truncated backpropagation through time for JAX: `lax.scan` with a bounded gradient horizon."""

from tbptt_jax._losses import linear_softmax_cross_entropy as linear_softmax_cross_entropy
from tbptt_jax._losses import (
    linear_softmax_cross_entropy_per_token as linear_softmax_cross_entropy_per_token,
)
from tbptt_jax._scan import truncated_scan as truncated_scan
from tbptt_jax._windows import windowed_value_and_grad as windowed_value_and_grad
