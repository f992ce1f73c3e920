"""Where verdicts differ: between validation and test losses, and between the rule and the last."""

from collections.abc import Iterable

from experiments.claims.comparisons import Comparison, name_of
from experiments.claims.numbers import Numbers
from experiments.claims.tables import table
from experiments.claims.verdicts import Finding, interval_text


def test_table(valid: Iterable[Comparison], test: Iterable[Comparison]) -> str:
    """The comparisons on which validation and test losses disagree, or that all agree."""
    rows = [
        [mine.claim, f"{name_of(mine.learning_rate)}, horizon {mine.horizon}"]
        + [f"**{of.verdict}**<br>{interval_text(of.estimate, of.p)}" for of in (mine, other)]
        for mine, other in zip(valid, test, strict=True)
        if mine.verdict != other.verdict
    ]
    head = ["claim", "case", "validation losses", "test losses"]
    return table(head, rows) if rows else "They agree on all comparisons."


def rule_table(before: Numbers, rows: Iterable[Comparison], findings: Iterable[Finding]) -> str:
    """The verdicts that the rule changed: (claim, case), before, and now."""
    now = {(row.claim, row.learning_rate, row.horizon): row.verdict for row in rows}
    old = {(r["claim"], r["learning_rate"], r["horizon"]): r["verdict"] for r in before["losses"]}
    both = [
        (claim, f"{name_of(rate)}, horizon {horizon}", old[claim, rate, horizon], verdict)
        for (claim, rate, horizon), verdict in now.items()
        if (claim, rate, horizon) in old
    ]
    said = {(finding.claim, finding.case): finding.verdict for finding in findings}
    old = {(each["claim"], each["case"]): each["verdict"] for each in before["findings"]}
    both += [(*key, old[key], verdict) for key, verdict in said.items() if key in old]
    changed = [[claim, case, *verdicts] for claim, case, *verdicts in both if len({*verdicts}) > 1]
    counted = f"{len(changed)} of {len(both)} verdicts changed."
    return "\n\n".join([counted, table(["claim", "case", "before", "now"], changed)])
