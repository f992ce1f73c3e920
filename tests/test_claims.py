"""Verdicts: what counts as a difference, and what is made of it."""

import json
import math
import shutil
from pathlib import Path

import pytest

from experiments import claims, comparisons, table_cells, verdicts
from experiments.errors import UserError
from experiments.verdicts import HOLDS, NOT, REVERSED, UNDECIDED

pytestmark = pytest.mark.standard

ROOT = Path(__file__).parents[1]
RESULTS, BENCHMARKS = ROOT / "results", ROOT / "benchmarks" / "results"


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


def fabricated(losses):
    """Cells with the given best losses, {(style, horizon, seq_len, rate): one per seed}."""
    found = {}
    for cell in table_cells.cells():
        plan = cell.schedule
        key = plan.style, plan.horizon, plan.seq_len, cell.learning_rate
        if (
            cell.carry == "dropped"
            and cell.cell == "vanilla"
            and cell.seed < len(losses.get(key, ()))
        ):
            found[cell] = {"best_valid_loss": losses[key][cell.seed]}
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
    assert math.isclose(table_cells.spread(found), spread)
    rows = comparisons.comparisons(found)
    assert [(r.question, r.learning_rate, r.seeds, r.article, r.verdict) for r in rows] == [
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


def copied(folder, **changes):
    """Verdicts of the committed results with some files changed, each by a function of it."""
    places = folder / "results", folder / "benchmarks"
    for source, place in zip((RESULTS, BENCHMARKS), places, strict=True):
        shutil.copytree(source, place)
    for name, change in changes.items():
        (path,) = folder.glob(f"*/{name}.json")
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
    return {finding.claim: finding.verdict for finding in claims.findings([], *places)}


def verdict(found, start):
    return next(verdict for claim, verdict in found.items() if claim.startswith(start))


def slow(content):
    content["rows"][1]["ratio"] = [1.0, 1.1, 1.2]


def slow_step(content):
    content["training"]["true"]["over_full"] = [1.0, 1.1, 1.2]


def fast_but_one(content):
    for shape in content["shapes"][1:]:
        shape["true"]["ratio"] = [1.0, 1.0, 1.0]


def fast(content):
    fast_but_one(content)
    content["shapes"][0]["true"]["ratio"] = [1.0, 1.0, 1.0]


def large_states_vanish(content):
    for row in content["rows"]:
        row["factor"] = [3.0 if row["state_size"] == 100 else 5.0 for _ in row["factor"]]


def losses_are(double, single=(5.0, 5.0, 5.0), blocks=(7.0, 7.0, 7.0)):
    losses = {"BPTT(2h; h)": double, "BPTT(h; 1)": single, "BPTT(h; h)": blocks}

    def change(content):
        for row in content["rows"]:
            row["best_valid_loss"] = [*losses[row["schedule"]]]

    return change


def succeeds(interval, single=(0.5, 0.6)):
    """BPTT(2h; h) after 1000 updates, beside BPTT(h; 1); at other times they are far apart."""

    def change(content):
        at = content["task"]["milestones"].index(1000)
        for row, mine in zip(content["rows"], (single, interval, (0.0, 1.0)), strict=True):
            far = [0.9, 1.0] if mine is single else [0.0, 0.1]
            row["intervals"] = [[*mine] if i == at else far for i in range(4)]

    return change


def epochwise_learns(gains, delays=(6, 7), horizon=8):
    """More than the true style at some delays, each seed; at all others far less."""

    def change(content):
        for row in content["learnt"]:
            mine = row["style"] == "epochwise" and row["horizon"] == horizon
            row["share"] = [
                # Seeds differ far more than styles: only what is paired tells.
                [
                    [0.2 * seed + mine * (gain if delay in delays else -1.0)] * 4
                    for seed, gain in enumerate(gains)
                ]
                for delay in range(1, 33)
            ]

    return change


def true_style_off(content):
    content["float64"]["article"]["windows"]["embedding/embedding"] = 1e-11


def a_schedule_off(content):
    content["float64"]["all"][0]["error"] = 1e-11


def counted(true, epochwise):
    def change(content):
        for row, count in zip(content["counted"], (true, epochwise), strict=True):
            row["travel"]["7"] = count

    return change


VANISHING = "gradients shrink by a factor of about 3 to 4 a step: state"
AS_FAST = "an efficient true BPTT is about as fast as full BPTT, where"
ALONE = "an efficient true BPTT is about as fast as full BPTT, for"
OFTEN = "BPTT(2h; h) succeeds as often"
NEAR = "true learns more of the dependencies near its horizon than epochwise: horizon"
LEARNT, LEARNT_16 = f"{NEAR} 8, delays 6 to 7", f"{NEAR} 16, delays 12 to 15"
BEYOND = "true learns more of the first dependency that no error reaches than epochwise: horizon 8"
AS_WELL = "BPTT(2h; h) does as well as BPTT(h): Penn Treebank, h = 5"


@pytest.mark.parametrize(
    ("name", "change", "claim", "before", "after"),
    [
        ("timing", slow, AS_FAST, HOLDS, NOT),
        ("training_step", slow_step, AS_FAST, HOLDS, NOT),
        ("recurrence", fast_but_one, ALONE, NOT, NOT),
        ("recurrence", fast, ALONE, NOT, HOLDS),
        ("vanishing", large_states_vanish, f"{VANISHING} 4, at", HOLDS, NOT),
        ("vanishing", large_states_vanish, f"{VANISHING} 100, at", NOT, HOLDS),
        # A spread of 0.01 in one schedule of three makes 0.0115 count.
        ("williams_peng_ptb", losses_are([5.002, 5.012, 5.022]), AS_WELL, HOLDS, NOT),
        ("williams_peng_ptb", losses_are([5.0, 5.01, 5.02]), AS_WELL, HOLDS, UNDECIDED),
        ("williams_peng_ptb", losses_are([4.998, 5.008, 5.018]), AS_WELL, HOLDS, HOLDS),
        ("williams_peng_ptb", losses_are([5.0] * 3, blocks=[4.0] * 3), AS_WELL, HOLDS, HOLDS),
        ("williams_peng_delay", succeeds([0.61, 0.7]), OFTEN, "more often", "more often"),
        ("williams_peng_delay", succeeds([0.59, 0.7]), OFTEN, "more often", UNDECIDED),
        ("williams_peng_delay", succeeds([0.4, 0.51]), OFTEN, "more often", UNDECIDED),
        ("williams_peng_delay", succeeds([0.4, 0.49]), OFTEN, "more often", NOT),
        ("dependency", epochwise_learns([-0.1, -0.11, -0.12]), LEARNT, UNDECIDED, HOLDS),
        ("dependency", epochwise_learns([0.1, 0.11, 0.12]), LEARNT, UNDECIDED, REVERSED),
        ("dependency", epochwise_learns([-0.1, 0.1, -0.3]), LEARNT, UNDECIDED, UNDECIDED),
        ("dependency", epochwise_learns([-0.1]), LEARNT, UNDECIDED, UNDECIDED),
        (
            "dependency",
            epochwise_learns([0.1, 0.11, 0.12], range(12, 16), horizon=16),
            LEARNT_16,
            f"{HOLDS} in 3, {UNDECIDED} in 1",
            REVERSED,
        ),
        (
            "dependency",
            epochwise_learns([-0.1, -0.11, -0.12], (8,)),
            BEYOND,
            f"{REVERSED} in 3, {UNDECIDED} in 1",
            HOLDS,
        ),
        ("gradcheck", true_style_off, "where the horizon is the sequence", HOLDS, NOT),
        ("gradcheck", a_schedule_off, "where the horizon is the sequence", HOLDS, HOLDS),
        ("gradcheck", a_schedule_off, "with every horizon and stride", HOLDS, NOT),
        ("diagram", counted(42, 7), "of 49 errors", NOT, HOLDS),
        ("diagram", counted(42, 6), "of 49 errors", NOT, NOT),
    ],
)
def test_verdicts_follow_the_numbers(tmp_path, name, change, claim, before, after):
    committed = copied(tmp_path / "committed")
    changed = copied(tmp_path / "changed", **{name: change})
    assert (verdict(committed, claim), verdict(changed, claim)) == (before, after)


def test_true_is_worth_it_where_full_is_behind():
    losses = {("true", 20, 40, 0.001): (5.0, 5.02)}
    for full, said in (((4.9, 4.92), HOLDS), ((5.01, 5.03), HOLDS), ((5.1, 5.12), NOT)):
        losses["epochwise", 40, 40, 0.001] = full
        rows = comparisons.comparisons(fabricated(losses))
        found = {f.claim: f.verdict for f in claims.findings(rows, Path())}
        assert verdict(found, "true BPTT is not worth it") == said


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("timing", lambda content: content["rows"][1].update(ratio=[-5.0, -1.0, 0.5])),
        ("gradcheck", lambda content: content["float32"]["all"].append({"error": 0.0})),
        (
            "gradcheck",
            lambda content: content["float32"].update(all=content["float32"]["all"][:1] * 28),
        ),
        ("vanishing", lambda content: content.update(rows=[])),
    ],
)
def test_impossible_numbers_are_refused(tmp_path, name, change):
    with pytest.raises(UserError, match=rf"{name}\.json.* is damaged; run its main again\."):
        copied(tmp_path, **{name: change})


def test_claims_without_numbers_are_left_out(tmp_path):
    assert claims.findings([], tmp_path) == []
    assert {path.parent for path in claims.missing(tmp_path)} == {tmp_path}
    assert len(claims.missing(tmp_path, tmp_path)) == len(claims.missing(tmp_path)) + 2
    assert claims.missing(RESULTS) == []


@pytest.mark.parametrize("content", ["{", "{}", "[]"])
def test_damaged_results_are_refused(tmp_path, content):
    (tmp_path / "diagram.json").write_text(content)
    with pytest.raises(UserError, match=r"diagram\.json is damaged; run its main again\."):
        claims.findings([], tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"corpus": "another text"}, "is of another text, not of the Penn Treebank"),
        ({"tolerances": {}}, "is damaged"),
        (
            {"float64": {"all": [{"error": 0.0}], "article": {"windows": {"all": 0.0}}}},
            "is damaged",
        ),
        ({"float32": math.nan}, "is damaged"),
    ],
)
def test_results_that_say_nothing_are_refused(tmp_path, change, said):
    found = json.loads((RESULTS / "gradcheck.json").read_text())
    (tmp_path / "gradcheck.json").write_text(json.dumps(found | change))
    with pytest.raises(UserError, match=said):
        claims.findings([], tmp_path)
