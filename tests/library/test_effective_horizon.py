"""The smallest horizon that holds a fraction of the gradient."""

import re

import jax
import jax.numpy as jnp
import pytest

from tbptt_jax import LagSpectrum, effective_horizon


@pytest.mark.parametrize(
    ("norms", "fraction", "horizon"),
    [
        ([4.0, 2.0, 1.0, 1.0], 0.5, 1),
        ([4.0, 2.0, 1.0, 1.0], 0.51, 2),
        ([4.0, 2.0, 1.0, 1.0], 1.0, 4),
        ([4.0, 2.0, 2.0, 0.0], 1.0, 3),
        ([0.0, 0.0], 0.9, 1),
        ([1.0, float("nan"), 1.0], 0.5, 3),
    ],
)
def test_effective_horizon_is_the_smallest_that_holds_the_fraction(norms, fraction, horizon):
    assert effective_horizon(jnp.array(norms), fraction=fraction) == horizon


def test_effective_horizon_adds_up_in_full_precision():
    for dtype in (jnp.int8, jnp.float16, jnp.bfloat16):
        assert effective_horizon(jnp.full(1000, 100, dtype), fraction=0.5) == 500
    assert effective_horizon(jnp.full(20, 1e308), fraction=0.5) == 10


def test_complex_norms_fail():
    with pytest.raises(TypeError, match="spectrum must be real, got complex128"):
        effective_horizon(jnp.ones(3, complex))


@pytest.mark.parametrize(
    ("norms", "fraction", "said"),
    [
        ([1.0], 0.0, "fraction must be in (0, 1], got 0.0."),
        ([1.0], 1.5, "fraction must be in (0, 1], got 1.5."),
        ([], 0.5, "spectrum must be [H] with H >= 1, got [0]."),
        ([[1.0]], 0.5, "spectrum must be [H] with H >= 1, got [1, 1]."),
    ],
)
def test_wrong_arguments_of_effective_horizon_fail(norms, fraction, said):
    with pytest.raises(ValueError, match=re.escape(f"effective_horizon: {said}")):
        effective_horizon(jnp.array(norms), fraction=fraction)


def test_what_is_no_spectrum_or_no_number_fails():
    spectrum = LagSpectrum(*[jnp.ones(2)] * 5)
    for wrong in (spectrum, [1.0, 2.0], None):
        got = f"l1 or l2 of a LagSpectrum, got {type(wrong).__name__}"
        with pytest.raises(TypeError, match=got):
            effective_horizon(wrong)
    for wrong in ("0.9", jnp.array([0.5, 0.9])):
        with pytest.raises(TypeError, match="fraction must be a static number, got"):
            effective_horizon(spectrum.l1, fraction=wrong)
    with pytest.raises(TypeError, match="fraction must be a static number, got"):
        jax.jit(lambda x: effective_horizon(spectrum.l1, fraction=x))(0.5)
