"""One check for functions, one for arrays, one for static numbers, whatever public function."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tbptt_jax import (
    LearnerState,
    adaptive_horizon,
    dyadic_lag_spectrum,
    effective_horizon,
    init_stream,
    lag_spectrum,
    linear_softmax_cross_entropy,
    make_eval_step,
    make_online_loop,
    make_train_loop,
    make_train_step,
    stream_scan,
    time_sharded_scan,
    truncated_linear_scan,
    truncated_scan,
    truncation_bias,
    windowed_value_and_grad,
    with_boundary_factors,
    with_mask,
    with_resets,
)

XS = np.ones(6)
STEP = "carry, x"
CELL = "params, carry, x"
BATCH = "params, carry, batch"
TARGET = "params, y, target"


def step(c, x):
    return c + x, c


def cell(w, c, x):
    return w * c + x, c


def mean_loss(w, ys, targets):
    return jnp.mean(ys)


def on_devices(f, **changes):
    mesh = jax.make_mesh((1,), ("time",), axis_types=(jax.sharding.AxisType.Auto,))
    return time_sharded_scan(f, **{"init": 0.0, "xs": XS, "mesh": mesh, "horizon": 3} | changes)


def in_stream(f, xs=XS, **kwargs):
    return stream_scan(f, init_stream(0.0, XS, horizon=3), xs, **kwargs)


def with_trace(f, **kwargs):
    trace = {"horizon": 1, "tail": "trace", "cell": cell, "params": 0.5}
    return stream_scan(f, init_stream(0.0, XS, **trace), XS, **kwargs)


def traced_stream(f):
    return init_stream(0.0, XS, horizon=1, tail="trace", cell=f, params=0.5)


class Optimizer:
    init = update = staticmethod(lambda *args: args)


lags = functools.partial(lag_spectrum, horizon=3)
windowed = functools.partial(windowed_value_and_grad, horizon=3)
online = functools.partial(make_online_loop, optimizer=Optimizer, inputs_fn=step)

# The argument that must be a function; what is called with it; what it is given.
FUNCTIONS = {
    "truncated_scan: f": (lambda f: truncated_scan(f, 0.0, XS, horizon=3), STEP),
    "time_sharded_scan: f": (on_devices, STEP),
    "stream_scan: f": (in_stream, STEP),
    "stream_scan: f (params)": (functools.partial(in_stream, params=0.5), CELL),
    "stream_scan: f (trace)": (functools.partial(with_trace, params=0.5), CELL),
    "with_mask: f": (with_mask, STEP),
    "with_resets: f": (lambda f: with_resets(f, 0.0), STEP),
    "with_boundary_factors: f": (with_boundary_factors, STEP),
    "lag_spectrum: cell": (lambda f: lags(f, mean_loss)(0.5, 0.0, XS, None), CELL),
    "lag_spectrum: sequence_loss_fn": (
        lambda f: lags(cell, f)(0.5, 0.0, XS, None),
        "params, ys, targets",
    ),
    "dyadic_lag_spectrum: cell": (
        lambda f: dyadic_lag_spectrum(f, mean_loss)(0.5, 0.0, XS, None),
        CELL,
    ),
    "windowed_value_and_grad: cell": (lambda f: windowed(f, mean_loss), CELL),
    "windowed_value_and_grad: step_loss_fn": (lambda f: windowed(cell, f), TARGET),
    "make_train_step: loss_fn": (lambda f: make_train_step(f, Optimizer), BATCH),
    "make_train_loop: loss_fn": (lambda f: make_train_loop(f, Optimizer, step), BATCH),
    "make_train_loop: batch_fn": (lambda f: make_train_loop(cell, Optimizer, f), "source, i"),
    "make_online_loop: cell": (lambda f: online(f, mean_loss), CELL),
    "make_online_loop: step_loss_fn": (lambda f: online(cell, f), TARGET),
    "make_online_loop: inputs_fn": (lambda f: online(cell, mean_loss, inputs_fn=f), "source, t"),
    "make_eval_step: loss_fn": (make_eval_step, BATCH),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_no_function_fails_in_one_line(name):
    with pytest.raises(TypeError) as raised:
        FUNCTIONS[name][0](None)
    argument = name.partition(" (")[0]
    assert str(raised.value) == f"{argument} must be a function, got NoneType."


@pytest.mark.parametrize("name", [*FUNCTIONS, "init_stream: cell"])
def test_a_function_of_other_arguments_fails_in_one_line(name):
    """A cell whose parameters are bound, where they are passed; one that wants them elsewhere."""
    use, given = FUNCTIONS.get(name, (traced_stream, CELL))
    bound = functools.partial(cell, 0.5)
    wrong, got = (cell, "w, c, x") if given.count(",") == 1 else (bound, "c, x")
    with pytest.raises(TypeError) as raised:
        use(wrong)
    argument = name.partition(" (")[0]
    assert str(raised.value) == f"{argument} must be a function of ({given}), got one of ({got})."


class Module:
    """A step as an object, as Equinox and Flax have them."""

    def __call__(self, carry, x, *, key=None):
        return step(carry, x)


@pytest.mark.parametrize(
    "f",
    [step, Module(), jax.jit(step), functools.partial(cell, 0.5), lambda *args: step(*args)],
    ids=["function", "object", "jit", "partial", "any number"],
)
def test_whatever_takes_a_carry_and_an_input_is_a_step(f):
    assert truncated_scan(f, 0.0, jnp.ones(2), horizon=1)[0].shape == ()


def test_a_wrapper_may_hide_arguments():
    """What counts is what it takes itself, not what `functools.wraps` says."""

    @functools.wraps(cell)
    def bound(carry, x):
        return cell(0.5, carry, x)

    assert truncated_scan(bound, 0.0, jnp.ones(2), horizon=1)[0] == 1.5


# The argument that must be an array, or hold arrays where it may be a tree; what is called with it.
ARRAYS = {
    "truncated_scan: xs must hold": lambda x: truncated_scan(step, 0.0, x, horizon=3),
    "truncated_scan: init must hold": lambda x: truncated_scan(step, x, XS, horizon=3),
    "truncated_scan: lag_weights must be": lambda x: truncated_scan(
        step, 0.0, XS, horizon=3, lag_weights=x
    ),
    "time_sharded_scan: init must hold": lambda x: on_devices(step, init=x),
    "stream_scan: xs must be": lambda x: in_stream(step, x),
    "init_stream: init must hold": lambda x: init_stream(x, XS, horizon=3),
    "lag_spectrum: xs must hold": lambda x: lags(cell, mean_loss)(0.5, 0.0, x, None),
    "dyadic_lag_spectrum: params must hold": lambda x: dyadic_lag_spectrum(cell, mean_loss)(
        x, 0.0, XS, None
    ),
    "windowed_value_and_grad: init must hold": lambda x: windowed(cell, mean_loss)(0.5, x, XS, XS),
    "with_resets: init must hold": lambda x: with_resets(step, x),
    "with_resets: flags must be": lambda x: with_resets(step, 0.0)(0.0, (1.0, x)),
    "with_mask: fill must hold": lambda x: with_mask(step, x),
    "with_boundary_factors: factors must be": lambda x: with_boundary_factors(step)(0.0, (1.0, x)),
    "truncated_linear_scan: b must be": lambda x: truncated_linear_scan(XS, x, 0.0, horizon=3),
    "effective_horizon: spectrum must be": effective_horizon,
    "linear_softmax_cross_entropy: inputs must be": lambda x: linear_softmax_cross_entropy(
        x, XS, XS, XS
    ),
}


@pytest.mark.parametrize("wrong", ["a", object, np.array("a")], ids=["text", "type", "array"])
@pytest.mark.parametrize("name", ARRAYS)
def test_what_is_no_array_fails_in_one_line(name, wrong):
    with pytest.raises(TypeError) as raised:
        ARRAYS[name](wrong)
    said = str(raised.value)
    assert said.startswith(name) and "array" in said.partition(", got ")[0]
    assert "\n" not in said


@functools.cache
def bias():
    spectrum = lag_spectrum(cell, mean_loss, horizon=5)(0.5, 0.0, jnp.ones(9), None)
    return truncation_bias(spectrum, horizons=(2, 4))


def gradient_with(tol):
    """Of three units that mix, whose sweeps end at 0.5 before the horizon."""
    mixing = lambda c, x: (0.1 * (c + c[::-1]) + x, c)
    outputs = lambda xs: truncated_scan(mixing, jnp.zeros(3), xs, horizon=5, tol=tol)[1].sum()
    return jax.grad(outputs)(jnp.ones((6, 3)))


NUMBERS = {
    "truncated_scan: tol": gradient_with,
    "effective_horizon: fraction": lambda x: effective_horizon(jnp.ones(3), fraction=x),
    "adaptive_horizon: tolerance": lambda x: adaptive_horizon(bias(), tolerance=x),
}


@pytest.mark.parametrize(
    "wrong, got",
    [
        (True, "True"),
        (np.True_, "np.True_"),
        ("a", "'a'"),
        (None, "None"),
        (1j, "1j"),
        (np.complex64(0), "np.complex64(0j)"),
        (np.ones((2, 2)), "ndarray"),
    ],
    ids=["bool", "NumPy's bool", "text", "none", "complex", "NumPy's complex", "array"],
)
@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_static_number_fails_in_one_line(name, wrong, got):
    with pytest.raises(TypeError) as raised:
        NUMBERS[name](wrong)
    assert str(raised.value) == f"{name} must be a static number, got {got}."


@pytest.mark.parametrize("number", [0.5, np.float32(0.5), np.float64(0.5)], ids=["py", "32", "64"])
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_python_and_numpy_are_static(name, number):
    """All mean what Python's own does."""
    chex.assert_trees_all_equal(NUMBERS[name](number), NUMBERS[name](0.5))


def test_tol_is_of_the_gradient():
    assert (gradient_with(0.5) != gradient_with(0.0)).any()


def test_a_horizon_for_each_part_checks_types_first():
    two = lambda c, x: (c, x)
    for wrong in ({"stride": np.ones(3)}, {"carry_every": "2"}, {"tol": np.ones((2, 2))}):
        with pytest.raises(TypeError, match=r"^truncated_scan: \w+ must be a static .*\.$"):
            truncated_scan(two, (0.0, 1.0), XS, horizon=(3, 2), **wrong)


FLAGS = {
    "init_stream: stale": lambda x: init_stream(0.0, XS, horizon=3, stale=x),
    "lag_spectrum: batched": lambda x: lags(cell, mean_loss, batched=x),
    "lag_spectrum: parts": lambda x: lags(cell, mean_loss, parts=x),
    "dyadic_lag_spectrum: parts": lambda x: dyadic_lag_spectrum(cell, mean_loss, parts=x),
    "make_train_step: has_aux": lambda x: make_train_step(cell, Optimizer, has_aux=x),
    "make_train_step: donate": lambda x: make_train_step(cell, Optimizer, donate=x),
    "make_train_loop: donate": lambda x: make_train_loop(cell, Optimizer, step, donate=x),
    "make_online_loop: donate": lambda x: online(cell, mean_loss, donate=x),
    "make_eval_step: has_aux": lambda x: make_eval_step(cell, has_aux=x),
}


@pytest.mark.parametrize("name", FLAGS)
def test_what_is_neither_true_nor_false_fails_in_one_line(name):
    for wrong, got in ((1, "1"), ("yes", "'yes'"), (np.ones((2, 2)), "ndarray")):
        with pytest.raises(TypeError) as raised:
            FLAGS[name](wrong)
        assert str(raised.value) == f"{name} must be True or False, got {got}."


@pytest.mark.parametrize("wrong", ["a", object, None, [2], np.ones(2, int), 0.5], ids=repr)
def test_updates_are_counted_by_integers(wrong):
    state = LearnerState(np.ones(2), (), ())
    for bounds in ((wrong, 3), (0, wrong)):
        with pytest.raises(TypeError) as raised:
            make_train_loop(cell, Optimizer, step)(state, None, *bounds)
        said = str(raised.value)
        assert said.startswith("make_train_loop: ") and "\n" not in said
        assert " must be integers, got " in said or " must hold arrays, got " in said
