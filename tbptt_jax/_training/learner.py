"""What training and evaluation steps take and return."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax


class Optimizer(Protocol):
    """One of optax's gradient transformations, or any object with `init` and `update`.

    `update(grads, opt_state, params)` must be enough for it: not those that want the loss itself,
    such as `optax.lbfgs`.
    """

    @property
    def init(self) -> Callable[..., Any]: ...

    @property
    def update(self) -> Callable[..., Any]: ...


class LearnerState(NamedTuple):
    """What an update changes."""

    params: Any  #: what is trained; leaves that are no arrays are static
    opt_state: Any  #: the optimizer's
    carry: Any  #: what one batch hands to the next, such as a carry or the state of a stream


class Metrics(NamedTuple):
    """What an update or an evaluation reports; of a loop the means over its updates.

    The norm is the plain root of a sum of squares: in float32 inf above 1.8e19, and 0 where all
    entries are below 1e-19.
    """

    loss: Any  #: [], a scalar
    grad_norm: Any  #: [], the L2 norm of the whole gradient; None for evaluation
    aux: Any  #: what loss_fn returns beside loss and carry where has_aux, else None


class LossFn(Protocol):
    """`(params, carry, batch) -> (loss, carry)`; with has_aux `-> (loss, (carry, aux))`."""

    def __call__(self, params: Any, carry: Any, batch: Any, /) -> tuple[jax.Array, Any]: ...


class TrainStep(Protocol):
    """One update."""

    def __call__(self, state: LearnerState, batch: Any, /) -> tuple[LearnerState, Metrics]: ...


class TrainLoop(Protocol):
    """The updates start..stop-1."""

    def __call__(
        self, state: LearnerState, source: Any, start: Any, stop: Any, /
    ) -> tuple[LearnerState, Metrics]: ...


class EvalStep(Protocol):
    """One batch, without an update."""

    def __call__(self, params: Any, carry: Any, batch: Any, /) -> tuple[Any, Metrics]: ...
