"""Verdicts on the studies follow the committed numbers when these are changed."""

import committed
import pytest

from experiments.claims.verdicts import HOLDS, NOT, REVERSED, UNDECIDED

pytestmark = pytest.mark.standard


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


OFTEN = "BPTT(2h; h) succeeds as often"
NEAR = "true learns more of the dependencies near its horizon than epochwise: horizon"
LEARNT, LEARNT_16 = f"{NEAR} 8, delays 6 to 7", f"{NEAR} 16, delays 12 to 15"
BEYOND = "true learns more of the first dependency that no error reaches than epochwise: horizon 8"
AS_WELL = "BPTT(2h; h) does as well as BPTT(h): Penn Treebank, h = 5"


@pytest.mark.parametrize(
    ("name", "change", "claim", "before", "after"),
    [
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
    ],
)
def test_verdicts_follow_the_numbers(tmp_path, name, change, claim, before, after):
    original = committed.findings(tmp_path / "original")
    changed = committed.findings(tmp_path / "changed", **{name: change})
    found = committed.verdict(original, claim), committed.verdict(changed, claim)
    assert found == (before, after)
