"""The tables of verdicts that differ: between texts, and between rules."""

from pathlib import Path

import pytest

from experiments.claims import changes, comparisons
from experiments.claims.comparisons import Comparison
from experiments.claims.numbers import Numbers
from experiments.claims.verdicts import Estimate, Finding
from experiments.lm.styles import schedule

pytestmark = pytest.mark.standard

TRUE, EPOCHWISE = schedule("true", 5, seq_len=20), schedule("epochwise", 5)


def row(p, rate=0.001, difference=-0.1):
    estimate = Estimate(difference, 0.01, 9)
    rates = rate or 0.001, rate or 0.003
    return Comparison(comparisons.SEMI, TRUE, EPOCHWISE, rate, rates, estimate, 3, None, p)


def rows_of(text):
    return [line for line in text.splitlines() if line.startswith(f"| {comparisons.SEMI}")]


def test_only_comparisons_on_which_the_texts_disagree_are_shown():
    valid, test = [row(0.01), row(0.01, 0.003)], [row(0.02), row(0.5, 0.003)]
    (line,) = rows_of(changes.test_table(valid, test))
    assert "rate 0.003, horizon 5 | **holds**" in line and "| **undecided**" in line
    assert changes.test_table(valid, valid) == "They agree on all comparisons."


def test_only_verdicts_that_changed_are_shown():
    old = [("holds", 0.001), ("holds", 0.003), ("undecided", None)]
    names = {"claim": comparisons.SEMI, "horizon": 5}
    losses = [names | {"learning_rate": rate, "verdict": verdict} for verdict, rate in old]
    findings = [{"claim": "of a study", "case": "late", "verdict": "undecided"}]
    before = Numbers(Path("x.json"), [("losses", losses), ("findings", findings)])
    now = [row(0.01), row(0.5, 0.003), row(0.5, None), row(0.5, 0.0003)]
    new = [Finding("of a study", "late", "", (), "holds"), Finding("new", "", "", (), "holds")]
    text = changes.rule_table(before, now, new)
    assert text.startswith("2 of 4 verdicts changed.")
    assert rows_of(text) == [f"| {comparisons.SEMI} | rate 0.003, horizon 5 | holds | undecided |"]
    assert "| of a study | late | undecided | holds |" in text
