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


DELAY, ON_TEXT, FIRST = "a delay of 7", "Penn Treebank, h = 5", "after 250 updates"
AS_WELL = "BPTT(2h; h) does as well as BPTT(h)"
LEARNT = "true learns more of the delays 6 to 7 than epochwise, horizon 8"
LEARNT_16 = "true learns more of the delays 12 to 15 than epochwise, horizon 16"
BEYOND = "true learns more of the delay 8, which no error reaches,"


@pytest.mark.parametrize(
    ("name", "change", "claim", "case", "before", "after"),
    [
        # A spread of 0.01 in one schedule of three makes 0.0115 count.
        (
            "williams_peng_ptb",
            losses_are([5.002, 5.012, 5.022]),
            AS_WELL,
            "Penn Treebank, h = 5",
            HOLDS,
            NOT,
        ),
        (
            "williams_peng_ptb",
            losses_are([5.0, 5.01, 5.02]),
            AS_WELL,
            "Penn Treebank, h = 5",
            HOLDS,
            UNDECIDED,
        ),
        (
            "williams_peng_ptb",
            losses_are([4.998, 5.008, 5.018]),
            AS_WELL,
            "Penn Treebank, h = 5",
            HOLDS,
            HOLDS,
        ),
        (
            "williams_peng_ptb",
            losses_are([5.0] * 3, blocks=[4.0] * 3),
            AS_WELL,
            "Penn Treebank, h = 5",
            HOLDS,
            HOLDS,
        ),
        (
            "williams_peng_delay",
            succeeds([0.61, 0.7]),
            AS_WELL,
            "a delay",
            "more often",
            "more often",
        ),
        ("williams_peng_delay", succeeds([0.59, 0.7]), AS_WELL, DELAY, "more often", UNDECIDED),
        ("williams_peng_delay", succeeds([0.4, 0.51]), AS_WELL, DELAY, "more often", UNDECIDED),
        ("williams_peng_delay", succeeds([0.4, 0.49]), AS_WELL, DELAY, "more often", NOT),
        (
            "dependency",
            epochwise_learns([-0.1, -0.11, -0.12]),
            LEARNT,
            "after 250",
            UNDECIDED,
            HOLDS,
        ),
        (
            "dependency",
            epochwise_learns([0.1, 0.11, 0.12]),
            LEARNT,
            "after 250",
            UNDECIDED,
            REVERSED,
        ),
        (
            "dependency",
            epochwise_learns([-0.1, 0.1, -0.3]),
            LEARNT,
            "after 250",
            UNDECIDED,
            UNDECIDED,
        ),
        ("dependency", epochwise_learns([-0.1]), LEARNT, FIRST, UNDECIDED, UNDECIDED),
        (
            "dependency",
            epochwise_learns([0.1, 0.11, 0.12], range(12, 16), horizon=16),
            LEARNT_16,
            "",
            [*[HOLDS] * 3, UNDECIDED],
            REVERSED,
        ),
        (
            "dependency",
            epochwise_learns([-0.1, -0.11, -0.12], (8,)),
            BEYOND,
            "",
            [UNDECIDED, *[REVERSED] * 3],
            HOLDS,
        ),
    ],
)
def test_verdicts_follow_the_numbers(tmp_path, name, change, claim, case, before, after):
    original = committed.findings(tmp_path / "original")
    changed = committed.findings(tmp_path / "changed", **{name: change})
    found = [committed.verdict(verdicts, claim, case) for verdicts in (original, changed)]
    assert found == [before, after]
