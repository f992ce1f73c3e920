"""Which cells of the table are compared, over which seeds, and beside which spread."""

import math

import pytest

from experiments.claims import comparisons, runs
from experiments.claims.cells import cells
from experiments.claims.runs import Run
from experiments.claims.verdicts import HOLDS, UNDECIDED

pytestmark = pytest.mark.standard


def fabricated(losses):
    """Cells with the given best losses, {(style, horizon, seq_len, rate): one per seed}."""
    found = {}
    for cell in cells():
        plan = cell.schedule
        key = plan.style, plan.horizon, plan.seq_len, cell.learning_rate
        if (
            cell.carry == "dropped"
            and cell.cell == "vanilla"
            and cell.seed < len(losses.get(key, ()))
        ):
            found[cell] = Run((losses[key][cell.seed],), 1, 1.0)
    return found


def test_comparisons_take_means_of_the_seeds_that_both_have():
    found = fabricated(
        {
            ("true", 5, 20, 0.001): (5.0, 5.2),
            ("epochwise", 5, 5, 0.001): (5.4, 5.6, 5.5),
            ("true", 5, 20, 0.0003): (5.3,),
            ("epochwise", 5, 5, 0.0003): (5.2,),
            ("epochwise", 20, 20, 0.0003): (4.7,),
        }
    )
    spread = math.sqrt((0.02 + 0.02) / 3)
    assert math.isclose(runs.spread(found), spread)
    rows = comparisons.comparisons(found)
    assert [(r.claim, r.learning_rate, r.seeds, r.article, r.verdict) for r in rows] == [
        (comparisons.EQUAL_HORIZON, 0.001, 2, -0.03, HOLDS),
        (comparisons.EQUAL_HORIZON, 0.0003, 1, 0.05, UNDECIDED),
        (comparisons.EQUAL_LENGTH, 0.0003, 1, -0.01, HOLDS),
    ]
    for row, difference in zip(rows, (-0.4, 0.1, -0.6), strict=True):
        assert math.isclose(row.difference, difference)


def test_schedules_are_compared_at_their_best_rates():
    rates = (0.003, 0.001, 0.0003)
    losses = {("true", 5, 20): [(5.1,), (5.0, 5.4), (5.3,)]}
    losses[("epochwise", 5, 5)] = [(5.4,), (5.25, 5.27), (5.2,)]
    by_rate = {
        (*plan, r): x for plan, each in losses.items() for r, x in zip(rates, each, strict=True)
    }
    *_, row = comparisons.comparisons(fabricated(by_rate))
    assert (row.learning_rate, row.seeds, row.article) == (None, 1, -0.03)
    assert math.isclose(row.difference, 5.0 - 5.2)
    del by_rate["true", 5, 20, 0.003]
    assert None not in [r.learning_rate for r in comparisons.comparisons(fabricated(by_rate))]


def test_seeds_that_only_one_has_are_left_out():
    found = fabricated(
        {("true", 5, 20, 0.001): (5.0, 5.1), ("epochwise", 5, 5, 0.001): (5.0, 9.0, 5.02)}
    )
    found = {c: n for c, n in found.items() if (c.schedule.style, c.seed) != ("epochwise", 1)}
    (row,) = comparisons.comparisons(found)
    assert (row.seeds, row.difference) == (1, 0.0)


def test_without_several_seeds_nothing_is_compared():
    losses = {("true", 5, 20, 0.001): (5.0,), ("epochwise", 5, 5, 0.001): (6.0,)}
    assert comparisons.comparisons(fabricated(losses)) == []


def test_each_rate_is_held_to_the_spread_of_its_own_seeds():
    seeds = {0.003: (5.0, 6.0), 0.001: (5.0, 5.01, 5.02), 0.0003: (5.0,)}
    losses = {}
    for rate, each in seeds.items():
        losses["true", 5, 20, rate] = each
        losses["epochwise", 5, 5, rate] = tuple(loss + 0.5 for loss in each)
    rows = comparisons.comparisons(fabricated(losses))
    over_all = math.sqrt((2 * 0.5 + 4 * 1e-4) / 6)
    spreads = {0.003: math.sqrt(0.5), 0.001: 0.01, 0.0003: over_all, None: over_all}
    assert [row.learning_rate for row in rows] == list(spreads)
    for row in rows:
        assert math.isclose(row.spread, spreads[row.learning_rate])
    assert [row.verdict for row in rows] == [UNDECIDED, HOLDS, UNDECIDED, UNDECIDED]
