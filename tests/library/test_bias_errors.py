"""What is no spectrum, horizon, lag or tolerance is refused in one line."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tbptt_jax import LagSpectrum, adaptive_horizon, dyadic_lag_spectrum, truncation_bias

NORMS = 0.5 ** np.arange(20.0)
SPECTRUM = LagSpectrum(NORMS, NORMS, None, None, np.cumsum(NORMS), NORMS)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"horizons": ()}, ValueError, "at most 2147483647, got ()."),
        (
            {"horizons": (4, 4)},
            ValueError,
            "each above the one before, at most 2147483647, got (4, 4).",
        ),
        ({"horizons": (4, 2**31)}, ValueError, "at most 2147483647, got (4, 2147483648)."),
        ({"horizons": (0, 4)}, ValueError, "horizons must be >= 1, got 0."),
        ({"horizons": (1.5,)}, TypeError, "horizons must be a static integer, got 1.5."),
        ({"horizons": 4}, TypeError, "horizons must be static integers, got 4."),
        ({"horizons": "48"}, TypeError, "horizons must be static integers, got '48'."),
        ({"horizons": (4,), "fit": (0, 9)}, ValueError, "fit must be >= 1, got 0."),
        ({"horizons": (4,), "fit": ()}, ValueError, "last < H (20), got ()."),
        ({"horizons": (4,), "fit": (3,)}, ValueError, "last < H (20), got (3,)."),
        ({"horizons": (4,), "fit": (2, 6, 9)}, ValueError, "last < H (20), got (2, 6, 9)."),
        ({"horizons": (4,), "fit": 3}, TypeError, "fit must be static integers, got 3."),
        ({"horizons": (4,), "fit": "ab"}, TypeError, "fit must be static integers, got 'ab'."),
        ({"horizons": (4,), "fit": (2.0, 6)}, TypeError, "fit must be a static integer, got 2.0."),
        ({"horizons": (4,), "fit": (4, 5)}, ValueError, "last < H (20), got (4, 5)."),
        ({"horizons": (4,), "fit": (4, 20)}, ValueError, "last < H (20), got (4, 20)."),
    ],
)
def test_wrong_horizons_and_lags_to_fit_are_refused(options, error, said):
    with pytest.raises(error, match=f"^truncation_bias: .*{re.escape(said)}$"):
        truncation_bias(SPECTRUM, **options)


def test_one_spectrum_and_one_bias_at_a_time():
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), SPECTRUM)
    for wrong in (both, SPECTRUM._replace(cumulative_l2=SPECTRUM.cumulative_l2[:5])):
        with pytest.raises(ValueError, match=r"^truncation_bias: spectrum must have errors"):
            truncation_bias(wrong, horizons=(2, 4))
    biases = jax.vmap(lambda spectrum: truncation_bias(spectrum, horizons=(2, 4)))(both)
    with pytest.raises(ValueError, match=r"^adaptive_horizon: bias must have horizons"):
        adaptive_horizon(biases, tolerance=0.1)


@pytest.mark.parametrize("field", ["errors", "l2", "cumulative_l2"])
def test_complex_norms_are_refused(field):
    wrong = SPECTRUM._replace(**{field: getattr(SPECTRUM, field).astype(complex)})
    said = rf"^truncation_bias: spectrum\.{field} must be real, got complex128\.$"
    with pytest.raises(TypeError, match=said):
        truncation_bias(wrong, horizons=(2, 4))


def test_a_bias_of_no_horizons_has_none():
    bias = truncation_bias(SPECTRUM, horizons=(4,))
    empty = bias._replace(horizons=bias.horizons[:0], relative=bias.relative[:0])
    with pytest.raises(ValueError, match=r"^adaptive_horizon: bias must have .* n >= 1, got \[0\]"):
        adaptive_horizon(empty, tolerance=0.1)


def test_what_is_no_bias_has_no_horizon():
    said = "adaptive_horizon: bias must be a TruncationBias from truncation_bias, got LagSpectrum"
    with pytest.raises(TypeError, match=rf"^{said}\.$"):
        adaptive_horizon(SPECTRUM, tolerance=0.1)


def test_what_has_no_errors_is_refused():
    step = lambda w, c, x: (w * c + x, w * c + x)
    mean_loss = lambda w, ys, _: jnp.mean(ys)
    args = jnp.array(0.5), jnp.array(0.0), jnp.ones(40), None
    dyadic = dyadic_lag_spectrum(step, mean_loss)(*args)
    for wrong, got in ((dyadic, "one without errors"), (dyadic.l2, "ArrayImpl")):
        with pytest.raises(TypeError, match=f"from lag_spectrum, got {got}"):
            truncation_bias(wrong, horizons=(4,))


@pytest.mark.parametrize(
    ("tolerance", "error", "said"),
    [
        (0.0, ValueError, "must be above 0, got 0.0."),
        (float("nan"), ValueError, "must be above 0, got nan."),
        ("0.1", TypeError, "must be a static number, got '0.1'."),
    ],
)
def test_wrong_tolerances_are_refused(tolerance, error, said):
    bias = truncation_bias(SPECTRUM, horizons=(4,))
    with pytest.raises(error, match=f"^adaptive_horizon: tolerance {re.escape(said)}$"):
        adaptive_horizon(bias, tolerance=tolerance)
