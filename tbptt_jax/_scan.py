"""`truncated_scan`: `lax.scan` with a bounded gradient horizon."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.typing import ArrayLike

from tbptt_jax._backward.adjoint import Schedule, whole_segment
from tbptt_jax._backward.gradient_rule import checks_apart, with_pullback, without_forward_mode
from tbptt_jax._backward.lag_weights import check_lag_weights, check_samples
from tbptt_jax._backward.parts import apart, horizons_of_leaves, parts_of
from tbptt_jax._backward.segments import Scan
from tbptt_jax._step.arguments import check_integer
from tbptt_jax._step.handed_on import partition
from tbptt_jax._step.pure_step import pure_step
from tbptt_jax._step.schedule import check_excluded, check_schedule, check_tol
from tbptt_jax._step.time_axis import take

Carry = TypeVar("Carry")
X = TypeVar("X")
Y = TypeVar("Y")


def truncated_scan(
    f: Callable[[Carry, X], tuple[Carry, Y]],
    init: Carry,
    xs: X | None = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    *,
    horizon: Any,
    stride: int = 1,
    carry_every: int = 1,
    lag_weights: ArrayLike | None = None,
    tol: float = 0.0,
) -> tuple[Carry, Y]:
    """`jax.lax.scan` whose gradient is truncated backpropagation through time.

    The result is that of `jax.lax.scan(f, init, xs, length, reverse, unroll)`. Its gradient is
    BPTT(horizon; stride). The *error* of step t is the cotangent of its output, backpropagated.
    With stride 1 it reaches every leaf input (whatever `f` closes over, the input xₛ, and `init`)
    of the `horizon` steps

        s = t - horizon + 1, ..., t

    and no other; only the carries between steps are cut. The error of the final carry belongs to
    the last step. With a larger stride the losses of a block of `stride` consecutive steps share
    one backward pass over the `horizon` steps that end with the block's last. Blocks are counted
    from the first executed step; the last may be shorter, and its pass is not. So

    * stride = 1 is true truncated BPTT: every error reaches `horizon` steps back;
    * stride = horizon is epochwise: an error reaches 1 to `horizon` steps back, by its place in
      the block, as if the sequence were cut into pieces;
    * horizon >= T is full BPTT, for any stride.

    A carry leaf that every step returns unchanged is a parameter, as in `jax.lax.scan`: its
    gradient is that of a parameter, and an error of its last value is passed to `init` untruncated.

    The backward pass keeps the carries and the inputs. At stride 1 it is horizon - 1 sweeps, each
    one batched pullback of all T steps; at larger strides the T / stride blocks walk back side by
    side. Its sequential depth is `horizon`, not T. On a CPU it takes as many steps at a time as its
    cache holds. Where the carry is elementwise, i.e. an entry of the new carry depends on the same
    entry of the old one alone (leaky integrators, minGRU, diagonal state-space models; up to four
    leaves of one dtype that depend on each other entry by entry), sliding windows replace the
    sweeps, at a cost that does not depend on the horizon; elsewhere than on a CPU at all strides.
    Such steps are found by themselves, and an unknown operation means sweeps. Windows multiply
    entries of many Jacobians, sweeps and walks the known factors within one step, before an error
    comes: where such a product overflows, so may an error that is tiny.

    With `carry_every` = m > 1 only every m-th carry is kept, and the steps between are run again in
    the backward pass: memory for about T/m + m + horizon carries instead of T. Call it under
    `jax.jit`: outside, each call traces and compiles afresh.

    A horizon for each part of `init` is one for each state and parameter. From lag h on, the error
    on a leaf of the carry with horizon h is zero wherever it would pass from one step to the step
    before. A leaf that every step returns unchanged gets the gradient that its horizon gives, with
    those of the other leaves as they are: `init = (params, carry)` and `horizon = ({"kernel": 9,
    "bias": 8}, 9)`, say. What `f` closes over and the inputs have the longest of all.

    With `tol` > 0 the sweeps end early, at the first i at which

        ‖Aⁱ b‖ ≤ tol ‖b + A b + ... + Aⁱ b‖

    where b are the outputs' errors pulled back through their own steps, and A carries errors one
    step back: the gradient is that of horizon i + 2. If ‖A‖ ≤ ρ < 1, so that all steps contract,
    what is left out is at most tol ρ / (1 - ρ) times the errors on the carries. Otherwise it is a
    heuristic: errors that are small for a while and grow again are lost, as in steps whose
    Jacobians are far from normal. Sweeps take all steps at once then, on a CPU too. Under
    `jax.vmap` the errors of each example count for themselves, in `jax.shard_map` those on each
    device, so `f` must not name an axis there. Second derivatives are those at horizon i + 2.

    Effects inside `f`, prints and callbacks, happen once for each step in the forward pass, and
    with 2 <= horizon < T three more times in a gradient (five for the first step). Checks of
    `checkify` are made and reported once; under a gradient they run the steps once more.

    The horizon is that of one scan: through two truncated scans in series an error reaches up to
    2 horizon - 1 steps back. Stacked layers go into one carry. `f` cannot name an axis of a vmap
    that is differentiated from outside; of `shard_map` it can. A `jax.custom_vjp` rule inside `f`
    must be linear in the errors, since one pass carries those of several losses: scaling and
    surrogate gradients are; clipping is not, and nor is adding the gradient of a penalty, which
    belongs in the loss. A rule that is detected as nonlinear raises; one that cannot be decided
    is accepted.

    Forward-mode differentiation of a truncated gradient is not defined; use `jax.lax.scan`. Second
    derivatives are the Jacobian of the truncated-gradient map.

    Args:
      f: step function, `(carry, x) -> (carry, y)`. As in `jax.lax.scan`; must be vmappable.
      init: initial carry. As in `jax.lax.scan`.
      xs: [T, ...], inputs. As in `jax.lax.scan`.
      length: T. As in `jax.lax.scan`.
      reverse: As in `jax.lax.scan`; the horizon then counts in the order of execution.
      unroll: As in `jax.lax.scan`; the backward's loops are not unrolled, since each of their
        iterations works on many steps at once.
      horizon: how many steps back an error reaches, its own step included; a static integer >= 1,
        or None for no truncation; or a prefix of `init` with such, a horizon for each part. See
        above. A tree needs stride 1, and excludes carry_every, lag_weights and tol.
      stride: how many consecutive losses share one backward pass; a static integer in
        1..horizon, of no effect where there is no truncation.
      carry_every: how many steps apart the carries are that are kept for the gradient; a static
        integer >= 1, rounded up to whole blocks of the stride, or of horizon - 1 steps where the
        carry is elementwise; on a CPU, where it is long enough, to whole tiles of its cache.
      lag_weights: [horizon] or [B, horizon], real, may be traced: what the error of a step
        contributes i steps back is multiplied by wᵢ, for each sample b by w[b, i] where B is the
        first axis of the carry's and the outputs' leaves. Needs stride 1; an elementwise carry
        takes sweeps. Results do not depend on the weights: the gradient for them is zero.
      tol: where the sweeps end: as soon as the errors that are still carried back are below `tol`
        times their sum so far, both by their L2 norm over all steps, samples and entries of the
        carry; not while a norm is nan or its square overflows. A static number in [0, 1), and 0 for
        all sweeps. See above. Needs stride 1, one horizon, no lag_weights and carry_every = 1; of
        no effect with horizon=None, or where the carry is elementwise and takes no sweeps.

    Returns:
      The final carry and the stacked outputs, [T, ...]. As in `jax.lax.scan`.

    Raises:
      ValueError: `truncated_scan: horizon must be >= 1, got 0.`; stride and carry_every too.
      ValueError: `truncated_scan: stride must be in 1..horizon (3), got 4; a larger stride would
        drop errors.`
      ValueError: `truncated_scan: horizon must be a prefix of init, got (3, 4).`
      ValueError: `truncated_scan: a horizon for each part needs stride=1, got 2.`, the same for
        carry_every, and with lag_weights or tol.
      ValueError: `truncated_scan: lag_weights must be [horizon] or [B, horizon], got [3] with
        horizon 4.`, where stride > 1 or there is no horizon, and where a leaf lacks the axis B.
      ValueError: `truncated_scan: tol must be in [0, 1), got 1.5.`, `truncated_scan: tol needs
        stride=1, got 2.`, the same for carry_every, and with lag_weights.
      ValueError: `truncated_scan: a symbolic number of steps needs stride=1, got 2.`, in
        `jax.export`, the same for carry_every, and for a horizon for each part.
      TypeError: `truncated_scan: horizon must be a static integer, got 2.5.`, the same for stride
        and carry_every; where tol is no static number, and where lag_weights are integers.
      TypeError: no function or arrays where they must be; forward-mode differentiation outside
        `jax.jit`, where horizon < T.
      ValueError: `f` keeps a value that was computed in an earlier trace of it, as a Haiku or linen
        module does that makes parameters or draws keys inside of it; or, where horizon < T, reads
        or updates a mutable array (`jax.new_ref`).
      ValueError: `f` is differentiated and cannot be vmapped, where horizon < T, or draws from
        `rbg` keys, whose bits vmap changes, or has a gradient rule that is not linear in the
        errors.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tbptt_jax import truncated_scan
      >>> def step(c, x):
      ...     c = 0.5 * c + x
      ...     return c, c
      >>> def last_output(xs, horizon):
      ...     return truncated_scan(step, 0.0, xs, horizon=horizon)[1][-1]
      >>> jax.grad(last_output)(jnp.ones(5), horizon=3)
      Array([0.  , 0.  , 0.25, 0.5 , 1.  ], dtype=float32)

    References:
      Williams and Peng, 1990, An efficient gradient-based algorithm for on-line training of
        recurrent network trajectories. Neural Computation 2.
      Williams and Zipser, 1995, Gradient-based learning algorithms for recurrent networks and
        their computational complexity.
      Sutskever, 2013, Training recurrent neural networks, section 2.8.6. PhD thesis.
    """
    options = checked_options(init, horizon, stride, carry_every, lag_weights, tol)
    return scan_as("truncated_scan", f, init, xs, options, length, reverse, unroll)


def scan_as(
    function: str,
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any,
    options: Options,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
) -> tuple[Any, Any]:
    """`truncated_scan` within the public function of this name, for errors about the step."""
    is_full = options.horizon is None or _covers(options.shortest, xs, length)
    without, rest, whole = partition(function, f, init, xs, length, runs_again=not is_full)
    if options.horizons is not None:
        f, init = apart(f, init)
    step, constants, init_leaves, structure = pure_step(without(f), rest(init), xs, length)
    xs_leaves = jax.tree.leaves(xs)
    num_steps = int(length) if length is not None else xs_leaves[0].shape[0]
    if not isinstance(num_steps, int):  # symbolic, under jax.export
        what = "truncated_scan: a symbolic number of steps"
        check_excluded(
            what,
            stride=1 if options.horizon is None else options.stride,
            carry_every=options.carry_every,
        )
        if options.horizons is not None:
            raise ValueError(f"{what} needs one horizon.")
    scan = Scan(num_steps, reverse, unroll)
    if is_full:
        of_step = functools.partial(step, constants)
        results = scan.rematerialised(of_step, init_leaves, xs_leaves, options.carry_every)
    else:
        parts = parts_of(options.horizons, init, rest, constants, num_steps)
        args = constants, init_leaves, xs_leaves
        results = _truncated(function, scan, step, args, options, parts)
    carry, ys = jax.tree.unflatten(structure, jax.tree.leaves(results))
    return whole(carry, init), ys


class Options(NamedTuple):
    """What `truncated_scan` is asked for, checked."""

    horizon: int | None  # the longest, where each part has its own
    horizons: Any  # of the parts, or None
    stride: int
    carry_every: int
    weights: jax.Array | None  # of the lags
    tol: float
    shortest: int | None  # nothing is truncated in a sequence that is no longer; 0 for never


def checked_options(
    init: Any,
    horizon: Any,
    stride: int,
    carry_every: int = 1,
    lag_weights: ArrayLike | None = None,
    tol: float = 0.0,
) -> Options:
    """The options of `truncated_scan`; raises what it raises for them."""
    horizons = horizons_of_leaves(horizon, init)
    horizon = horizon if horizons is None else max(jax.tree.leaves(horizons), default=1)
    horizon, stride = check_schedule("truncated_scan", horizon, stride)
    carry_every = check_integer("truncated_scan", "carry_every", carry_every)
    tol = check_tol(tol, stride, carry_every, lag_weights)
    if horizons is not None:
        others = {"stride": stride, "carry_every": carry_every}
        what = "truncated_scan: a horizon for each part"
        check_excluded(what, tol=tol, lag_weights=lag_weights, **others)
    weights = check_lag_weights(lag_weights, horizon, stride)
    always = weights is not None or tol > 0
    shortest = 0 if always else min(jax.tree.leaves(horizons), default=horizon)
    return Options(horizon, horizons, stride, carry_every, weights, tol, shortest)


def _truncated(function, scan, step, args, options, parts):
    """The scan with the truncated gradient for its rule."""
    constants, init_leaves, xs_leaves = args
    step, make_checks = checks_apart(scan, step, *args)
    horizon, weights, num_steps = options.horizon, options.weights, scan.num_steps
    if isinstance(num_steps, int) and horizon > num_steps:
        horizon, weights = num_steps, jax.tree.map(lambda leaf: leaf[:num_steps], weights)
    schedule = Schedule(num_steps, horizon, options.stride, tol=options.tol, parts=parts)
    if options.carry_every > 1:
        first = constants, init_leaves, take(xs_leaves, 0)
        segment = whole_segment(step, schedule, options.carry_every, *first)
        schedule = schedule._replace(segment=segment)
    run = with_pullback(function, scan, step, schedule)
    carry, ys = without_forward_mode(function, run, *args, weights)
    check_samples(weights, init_leaves, ys)
    make_checks()
    return carry, ys


def _covers(horizon, xs, length) -> bool:
    """Whether the horizon is as long as the sequence; not if that is symbolic, or not known."""
    if length is None:
        length = next((size for leaf in jax.tree.leaves(xs) for size in np.shape(leaf)[:1]), None)
    return isinstance(length, (int, np.integer)) and horizon >= length
