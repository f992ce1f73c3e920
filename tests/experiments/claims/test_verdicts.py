"""When a difference counts, and what is made of it."""

import math

import pytest

from experiments.claims import verdicts
from experiments.claims.verdicts import HOLDS, NOT, REVERSED, UNDECIDED

pytestmark = pytest.mark.standard


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [(0.21, HOLDS), (0.19, UNDECIDED), (0.0, UNDECIDED), (-0.19, UNDECIDED), (-0.21, REVERSED)],
)
def test_only_differences_beyond_twice_the_spread_count(gain, verdict):
    assert verdicts.decide(gain, 0.2) == verdict


def test_what_is_no_number_is_undecided():
    assert verdicts.decide(math.nan, 0.2) == verdicts.decide(0.3, math.nan) == UNDECIDED


def test_one_seed_has_to_differ_by_more_than_several():
    limits = [verdicts.threshold(0.1, seeds) for seeds in (1, 2, 3)]
    assert all(map(math.isclose, limits, (0.2 * math.sqrt(2.0), 0.2, 0.2)))


def test_several_comparisons_hold_together_where_they_agree():
    assert verdicts.overall([HOLDS, HOLDS]) == HOLDS
    assert verdicts.overall([REVERSED, HOLDS, HOLDS]) == "holds in 2, the opposite holds in 1"
    assert verdicts.overall([NOT, NOT]) == NOT


@pytest.mark.parametrize(
    ("excess", "verdict"),
    [(-0.5, HOLDS), (0.05, HOLDS), (0.07, UNDECIDED), (0.1, UNDECIDED), (0.11, NOT), (0.3, NOT)],
)
def test_as_well_is_within_the_margin_noise_included(excess, verdict):
    assert verdicts.as_well(excess, limit=0.1, margin=0.16) == verdict


def test_no_verdicts_make_none():
    with pytest.raises(ValueError, match="there must be a verdict"):
        verdicts.overall([])
