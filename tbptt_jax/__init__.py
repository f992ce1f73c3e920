"""Truncated backpropagation through time for JAX: `lax.scan` with a bounded gradient horizon."""

from tbptt_jax._lags import LagSpectrum as LagSpectrum
from tbptt_jax._lags import effective_horizon as effective_horizon
from tbptt_jax._lags import lag_spectrum as lag_spectrum
from tbptt_jax._losses import linear_softmax_cross_entropy as linear_softmax_cross_entropy
from tbptt_jax._losses import (
    linear_softmax_cross_entropy_per_token as linear_softmax_cross_entropy_per_token,
)
from tbptt_jax._scan import truncated_scan as truncated_scan
from tbptt_jax._steps import with_mask as with_mask
from tbptt_jax._steps import with_resets as with_resets
from tbptt_jax._stream import stream_scan as stream_scan
from tbptt_jax._stream import stream_value_and_grad as stream_value_and_grad
from tbptt_jax._stream_window import Window as Window
from tbptt_jax._stream_window import init_window as init_window
from tbptt_jax._training import TrainState as TrainState
from tbptt_jax._training import make_eval_step as make_eval_step
from tbptt_jax._training import make_train_loop as make_train_loop
from tbptt_jax._training import make_train_step as make_train_step
from tbptt_jax._training import online as online
from tbptt_jax._windows import windowed_value_and_grad as windowed_value_and_grad

__version__ = "0.1.0"
