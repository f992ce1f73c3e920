"""Which cells of the table are compared, over which seeds, and beside which spread."""

import math

import pytest

from experiments.claims import comparisons, runs
from experiments.claims.cells import cells
from experiments.claims.runs import Run
from experiments.claims.verdicts import HOLDS, NO_VERDICT, paired

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
            found[cell] = Run((losses[key][cell.seed],), 1, 1.0, 9.0 - losses[key][cell.seed])
    return found


def test_comparisons_take_means_of_the_seeds_that_both_have():
    found = fabricated(
        {
            ("true", 5, 20, 0.001): (5.0, 5.2),
            ("epochwise", 5, 5, 0.001): (5.4, 5.61, 5.5),
            ("true", 5, 20, 0.0003): (5.3,),
            ("epochwise", 5, 5, 0.0003): (5.2,),
            ("epochwise", 20, 20, 0.0003): (4.7,),
        }
    )
    rows = comparisons.comparisons(found)
    assert [(r.claim, r.learning_rate, r.seeds, r.article, r.verdict) for r in rows] == [
        (comparisons.EQUAL_HORIZON, 0.001, 2, -0.03, HOLDS),
        (comparisons.EQUAL_HORIZON, 0.0003, 1, 0.05, NO_VERDICT),
        (comparisons.EQUAL_LENGTH, 0.0003, 1, -0.01, NO_VERDICT),
    ]
    for row, difference in zip(rows, (-0.405, 0.1, -0.6), strict=True):
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


def at_rates(losses):
    """`fabricated` from {plan: one tuple of seeds for each rate}."""
    rates = (0.003, 0.001, 0.0003)
    each = losses.items()
    return fabricated({(*plan, r): of[i] for plan, of in each for i, r in enumerate(rates)})


def test_schedules_with_one_best_rate_are_compared_once():
    losses = {("true", 5, 20): [(5.1,), (5.0, 5.03), (5.3,)]}
    losses["epochwise", 5, 5] = [(5.4,), (5.25, 5.27), (5.6,)]
    at = {row.learning_rate: row for row in comparisons.comparisons(at_rates(losses))}
    assert at[None] == at[0.001]._replace(learning_rate=None, article=-0.03)
    assert math.isclose(at[0.001].p, at[0.001].estimate.p_none)  # a family of one


def test_schedules_with_two_best_rates_have_their_own_spread():
    losses = {("true", 5, 20): [(5.1,), (5.0, 5.03, 5.01), (5.3,)]}
    losses["epochwise", 5, 5] = [(5.4,), (5.25, 5.27, 5.21), (5.2, 5.27, 5.3)]
    losses["epochwise", 20, 20] = [(5.4,), (5.25, 5.27, 5.21), (5.2, 5.27, 5.3)]
    rows = comparisons.comparisons(at_rates(losses))
    (row,) = (
        row for row in rows if row.learning_rate is None and row.claim == comparisons.EQUAL_HORIZON
    )
    assert row.rates == (0.001, 0.0003)
    assert row.estimate == paired([5.0 - 5.2, 5.03 - 5.27, 5.01 - 5.3])


def test_seeds_that_only_one_has_are_left_out():
    found = fabricated(
        {("true", 5, 20, 0.001): (5.0, 5.1), ("epochwise", 5, 5, 0.001): (5.0, 9.0, 5.02)}
    )
    found = {c: n for c, n in found.items() if (c.schedule.style, c.seed) != ("epochwise", 1)}
    (row,) = comparisons.comparisons(found)
    assert (row.seeds, row.difference) == (1, 0.0)


def test_noise_is_pooled_over_the_schedules_of_a_rate():
    seeds = {0.003: (0.0, 1.0), 0.001: (0.0, 0.01, 0.02), 0.0003: (0.0,)}
    losses = {}
    for rate, each in seeds.items():
        for i, plan in enumerate([("true", 5, 20), ("epochwise", 5, 5), ("epochwise", 20, 20)]):
            left = [0.1 * (i - 1) * (-1) ** seed for seed in range(len(each))]
            losses[*plan, rate] = tuple(5.0 + i + x + y for x, y in zip(each, left, strict=True))
    found = fabricated(losses)
    noise = {rate: runs.noise(found, rate) for rate in seeds}
    assert [noise[rate].df for rate in seeds] == [2, 4, 0]
    for row in comparisons.comparisons(found):
        of = noise[row.rates[0]]
        if row.seeds > 1:
            assert math.isclose(row.estimate.standard_error, math.sqrt(of.variance / row.seeds))
            assert row.estimate.df == of.df
        else:
            assert row.verdict == NO_VERDICT


def test_another_cell_is_compared_with_its_own_runs():
    losses = {("true", 20, 40, 0.001): (5.0, 5.1), ("epochwise", 20, 20, 0.001): (4.9, 4.95)}
    found = fabricated(losses)
    lstm = {cell._replace(cell="lstm"): run for cell, run in found.items()}
    assert not comparisons.comparisons(lstm) and not comparisons.comparisons(found, cell="lstm")
    (usual,) = comparisons.comparisons(found)
    (row,) = comparisons.comparisons(lstm, cell="lstm")
    assert row == usual._replace(article=None) and usual.article == 0.01


def test_a_claim_is_one_family():
    """The p-value of a comparison grows with the number of others of its claim."""
    few = {("true", 5, 20, 0.003): (5.0, 5.0), ("epochwise", 5, 5, 0.003): (5.3, 5.32)}
    more = few | {("true", 10, 30, 0.003): (5.0, 5.0), ("epochwise", 10, 10, 0.003): (5.6, 5.62)}
    families = [comparisons.comparisons(fabricated(losses)) for losses in (few, more)]
    for rows in families:
        assert {row.claim for row in rows} == {comparisons.EQUAL_HORIZON}
        least = min(row.estimate.p_none for row in rows)
        assert math.isclose(min(row.p for row in rows), least * len(rows))


def test_test_losses_are_compared_by_the_same_rule():
    losses = {("true", 5, 20, 0.001): (5.0, 5.2), ("epochwise", 5, 5, 0.001): (5.4, 5.61)}
    valid, test = (
        comparisons.comparisons(fabricated(losses), measure) for measure in (runs.VALID, runs.TEST)
    )
    assert [row.verdict for row in valid] == [HOLDS]
    assert math.isclose(test[0].difference, -valid[0].difference)
    assert math.isclose(test[0].p, valid[0].p)
