"""When a difference counts, and what is made of it."""

import math

import numpy as np
import pytest
from scipy import stats

from experiments.claims import verdicts
from experiments.claims.verdicts import HOLDS, NO_VERDICT, NOT, REVERSED, UNDECIDED

pytestmark = pytest.mark.standard

DIFFERENCES = [0.03, -0.01, 0.05, 0.02, 0.04]


def test_a_paired_difference_is_students():
    estimate, expected = verdicts.paired(DIFFERENCES), stats.ttest_1samp(DIFFERENCES, 0.0)
    assert math.isclose(estimate.p_none, expected.pvalue)
    low, high = expected.confidence_interval(0.95)
    assert math.isclose(estimate.mean - estimate.half_width, low)
    assert math.isclose(estimate.mean + estimate.half_width, high)


def test_margins_are_tested_one_sided():
    estimate = verdicts.paired(DIFFERENCES)
    for margin in (-0.02, 0.0, 0.02, 0.1):
        for found, side in ((estimate.p_below, "less"), (estimate.p_above, "greater")):
            expected = stats.ttest_1samp(DIFFERENCES, margin, alternative=side).pvalue
            assert math.isclose(found(margin), expected)


def test_equivalence_is_two_one_sided_tests():
    estimate = verdicts.paired(DIFFERENCES)
    assert estimate.p_within(0.1) == max(estimate.p_below(0.1), estimate.p_above(-0.1)) < 0.05
    assert estimate.p_within(0.03) > 0.05 > estimate.p_above(-0.03)
    above = estimate._replace(mean=0.2)
    below = estimate._replace(mean=-0.2)
    assert math.isclose(above.p_beyond(0.1), below.p_beyond(0.1))
    assert above.p_beyond(0.1) < 0.05 < estimate.p_beyond(0.1)


def test_more_seeds_sharpen_the_interval():
    half = [verdicts.paired([0.01, 0.03] * n).half_width for n in (1, 2, 3, 10, 100)]
    assert half == sorted(half, reverse=True) and half[0] > 20 * half[-1]


def test_one_seed_has_no_verdict():
    for estimate in (verdicts.paired([1.0]), verdicts.Noise(0.01, 18).of([1.0])):
        assert math.isnan(estimate.half_width)
        assert verdicts.decide(estimate.mean, estimate.p_none) == NO_VERDICT
        assert verdicts.as_good(estimate.p_below(2.0), estimate.p_above(2.0)) == NO_VERDICT
        assert math.isnan(estimate.p_within(2.0)) and math.isnan(estimate.p_beyond(0.1))


@pytest.mark.parametrize("judge", [verdicts.below, verdicts.within])
def test_one_seed_does_not_count_in_a_family(judge):
    several, one = verdicts.paired(DIFFERENCES), verdicts.paired([1.0])
    for margin in (0.06, -0.01, 0.1):
        (alone,) = judge([several], margin)
        both = judge([one, several], margin)
        assert both[1] == alone and both[0].verdict == NO_VERDICT


def test_families_are_judged_by_a_margin():
    estimates = [verdicts.paired([mean, mean + 0.001, mean - 0.001]) for mean in (-0.1, 0.0, 0.1)]
    assert [each.verdict for each in verdicts.below(estimates, 0.05)] == [HOLDS, HOLDS, NOT]
    assert [each.verdict for each in verdicts.within(estimates, 0.05)] == [NOT, HOLDS, NOT]
    least = min(estimate.p_below(0.05) for estimate in estimates)
    assert math.isclose(min(each.p for each in verdicts.below(estimates, 0.05)), 3 * least)


def test_seeds_that_differ_alike_are_sure():
    same = verdicts.paired([0.5, 0.5])
    assert (same.p_none, same.p_below(0.6), same.p_below(0.4)) == (0.0, 0.0, 1.0)
    assert verdicts.paired([0.0, 0.0]).p_none == 1.0


def test_noise_of_two_kinds_is_that_of_their_differences():
    first, second = [5.0, 5.2, 5.1], [5.3, 5.4, 5.6]
    differences = np.subtract(first, second)
    noise = verdicts.noise([dict(enumerate(each)) for each in (first, second)])
    assert noise.df == 2 and math.isclose(noise.variance, np.var(differences, ddof=1))
    pooled, own = noise.of(differences.tolist()), verdicts.paired(differences.tolist())
    assert np.allclose(pooled, own)


def test_noise_is_without_what_seeds_and_kinds_have_in_common():
    rng = np.random.default_rng(0)
    left = 0.1 * rng.normal(size=(200, 3))
    losses = 5.0 + rng.normal(size=(200, 1)) + rng.normal(size=3) + left
    noise = verdicts.noise([dict(enumerate(each)) for each in losses])
    assert noise.df == 199 * 2
    assert math.isclose(noise.variance, 2 * 0.1**2, rel_tol=0.15)


def test_noise_takes_the_seeds_that_all_have():
    kinds = [{0: 1.0, 1: 2.0, 2: 9.0}, {0: 1.0, 1: 2.5}, {1: 1.0, 0: 2.0}]
    without = [{0: of[0], 1: of[1]} for of in kinds]
    assert verdicts.noise(kinds) == verdicts.noise(without)
    assert verdicts.noise(kinds).df == 2
    for few in ([], kinds[:1], [{0: 1.0}, {0: 2.0, 1: 3.0}], [{0: 1.0, 1: 2.0}, {2: 3.0}]):
        assert verdicts.noise(few).df == 0


def test_holm_multiplies_the_smallest_most_and_keeps_the_order():
    assert np.allclose(verdicts.holm([0.04, 0.01, 0.03]), [0.06, 0.03, 0.06])
    assert verdicts.holm([0.6, 0.5]) == [1.0, 1.0]
    with_nan = verdicts.holm([0.01, math.nan, 0.02])
    assert np.allclose(with_nan, [0.02, math.nan, 0.02], equal_nan=True)
    assert verdicts.holm([]) == []


@pytest.mark.parametrize(
    ("gain", "p", "verdict"),
    [
        (0.2, 0.049, HOLDS),
        (0.2, 0.05, UNDECIDED),
        (-0.2, 0.051, UNDECIDED),
        (-0.2, 0.049, REVERSED),
        (0.2, math.nan, NO_VERDICT),
    ],
)
def test_a_difference_counts_below_the_level(gain, p, verdict):
    assert verdicts.decide(gain, p) == verdict


@pytest.mark.parametrize(
    ("p_good", "p_bad", "verdict"),
    [(0.04, 0.9, HOLDS), (0.06, 0.9, UNDECIDED), (0.9, 0.04, NOT), (0.9, 0.06, UNDECIDED)],
)
def test_as_good_is_shown_never_left_over(p_good, p_bad, verdict):
    assert verdicts.as_good(p_good, p_bad) == verdict


def test_several_comparisons_hold_together_where_they_agree():
    assert verdicts.overall([HOLDS, HOLDS]) == HOLDS
    assert verdicts.overall([REVERSED, HOLDS, HOLDS]) == "holds in 2, the opposite holds in 1"
    assert verdicts.overall([NOT, NOT]) == NOT


def test_no_verdicts_make_none():
    with pytest.raises(ValueError, match="there must be a verdict"):
        verdicts.overall([])
