"""Tables in Markdown, from what the commands have found."""

import statistics
from collections.abc import Iterable
from typing import Any

from experiments.claims import cells, comparisons, runs
from experiments.claims.article import EARLY
from experiments.claims.cells import Cell
from experiments.claims.comparisons import Comparison
from experiments.claims.runs import Runs
from experiments.claims.sections import Section
from experiments.claims.verdicts import adjusted_p, interval_text, paired
from experiments.lm.decay import factor
from experiments.lm.styles import Schedule

DIFFERENT = {
    "lstm": "LSTM",
    "clean": "state carried on without dropout",
    "exact": "errors cross sequence boundaries",
}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    head = list(head)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def verdicts_table(section: Section) -> str:
    """A row for each claim, a column for each case; below, links to the numbers."""
    cases = dict.fromkeys(finding.case for finding in section.findings)
    rows: dict[str, dict[str, str]] = {}
    for finding in section.findings:
        lines = [f"**{finding.verdict}**", *finding.here]
        lines += [f"*article*: {finding.article}"] if finding.article else []
        rows.setdefault(finding.claim, {})[finding.case] = "<br>".join(lines)
    made = table(
        ["claim", *cases],
        [[claim, *(of.get(case, "–") for case in cases)] for claim, of in rows.items()],
    )
    links = ", ".join(f"[{path.rsplit('/', 1)[-1]}](../{path})" for path in section.sources)
    return f"{made}\n\nFrom {links}."


def article_table(finished: Runs) -> str:
    """The article's cells: here (the article; the difference)."""
    beside = {row.cell: row for row in runs.summary(finished).rows}

    def text(plan, rate, article):
        row = beside.get(Cell(plan, rate))
        if row is None:
            return f"– ({article:.2f})"
        return f"{row.here:.3f} ({article:.2f}; {row.difference:+z.3f})"

    rows = []
    for plan in cells.SCHEDULES:
        at_rates = zip(cells.RATES, cells.ARTICLE[plan.style, plan.horizon], strict=True)
        rows.append([_plan(plan), *(text(plan, rate, article) for rate, article in at_rates)])
    return table(["style, horizon, sequence", *(f"rate {rate:g}" for rate in cells.RATES)], rows)


def seeds_table(finished: Runs) -> str:
    """Each seed and the mean, at each rate; and the number of updates."""
    rows = []
    for plan in (*cells.SCHEDULES, *cells.CONTROLS, *cells.FULL):
        row = [_plan(plan), "–"]
        for rate in cells.RATES:
            losses = runs.losses(finished, Cell(plan, rate))
            row += [" ".join(f"{loss:.3f}" for loss in losses.values()) or "–"]
            row += [f"{statistics.fmean(losses.values()):.3f}" if losses else "–"]
            if losses:
                row[1] = f"{finished[Cell(plan, rate, min(losses))].updates_per_epoch:,}"
        rows.append(row)
    head = ["style, horizon, sequence", "updates an epoch"]
    for rate in cells.RATES:
        head += [f"rate {rate:g}, each seed", "mean"]
    return table(head, rows)


def parts_table(rows: Iterable[Comparison]) -> str:
    """What the difference at equal horizon is made of: style, and number of updates."""
    asked = comparisons.EQUAL_HORIZON, comparisons.EQUAL_UPDATES, comparisons.FEWER_UPDATES
    found = {}
    for row in rows:
        if row.claim in asked and row.learning_rate is not None:
            horizon = min(row.first.horizon, row.second.horizon)
            found.setdefault((row.learning_rate, horizon), {})[row.claim] = row
    lines = []
    for (rate, horizon), parts in found.items():
        if len(parts) == len(asked):
            whole, style, updates = (f"{parts[claim].difference:+z.3f}" for claim in asked)
            article = f"{parts[comparisons.EQUAL_HORIZON].article:+.2f}"
            lines.append([f"{rate:g}", str(horizon), article, whole, style, updates])
    head = [
        "rate",
        "horizon",
        "the article",
        "true − epochwise",
        "due to the style",
        "due to the updates",
    ]
    return table(head, lines)


def extras_table(finished: Runs) -> str:
    """The further questions, each beside the cell without the last thing that is different.

    All of them are one family, by each pair's own spread.
    """
    asked = [cell for cell in cells.EXTRAS if cell in finished]
    made = {cell: estimate for cell in asked if (estimate := _last_difference(finished, cell))}
    p_values = dict(zip(made, adjusted_p(made.values()), strict=True))
    rows = []
    for cell in asked:
        losses = runs.losses(finished, cell)
        values = [getattr(cell, name) for name in cell.differences]
        different = [DIFFERENT.get(x) or f"Adam's epsilon {x:.2g}" for x in values]
        row = [_plan(cell.schedule), f"{cell.learning_rate:g}"]
        row += [", ".join(different) or "the schedule", str(len(losses))]
        row += [f"{statistics.fmean(losses.values()):.3f}"]
        row += [interval_text(made[cell], p_values[cell]) if cell in made else "–"]
        rows.append(row)
    head = ["style, horizon, sequence", "rate", "what is different", "seeds", "loss"]
    head += ["difference that the last makes"]
    return table(head, rows) if rows else "None of them is there yet."


def _last_difference(finished, cell):
    """An estimate of what the last thing that is different makes; None where no seed tells."""
    if not cell.differences:
        return None
    last = cell.differences[-1]
    without = cell._replace(**{last: getattr(Cell(cell.schedule), last)})
    here, there = (runs.losses(finished, each) for each in (cell, without))
    shared = [here[seed] - there[seed] for seed in here.keys() & there.keys()]
    return paired(shared) if shared else None


def lstm_table(rows: Iterable[Comparison]) -> str:
    """The claims about losses that an LSTM's runs decide."""
    lines = [
        [row.claim, str(row.seeds), interval_text(row.estimate, row.p), f"**{row.verdict}**"]
        for row in rows
    ]
    return table(["claim", "seeds", "difference", "verdict"], lines)


def vanishing_table(rows: list[dict[str, Any]]) -> str:
    """The factor a step, over all lags and over the first."""

    def of_seeds(values):
        median, low, high = statistics.median(values), min(values), max(values)
        return f"{median:.2f} ({low:.2f}–{high:.2f})" if len(values) > 1 else f"{median:.2f}"

    head = ["cell", "state", "epochs trained", "factor per step, median (range of seeds)"]
    head += [f"over the first {EARLY} steps", "√((E+N)/N)"]
    return table(
        head,
        [
            [
                *(str(row[name]) for name in ("cell", "state_size", "epochs")),
                of_seeds(row["factor"]),
                of_seeds([factor(norms[: EARLY + 1]) for norms in row["l1"]]),
                f"{row['expected']:.2f}",
            ]
            for row in rows
        ],
    )


def timing_table(found: dict[str, Any]) -> str:
    """Times full, with quartiles."""
    article = found["article_ms"]
    rows = [["the article's true style", f"{article['true'] / article['full']:.2f}", "–"]]
    for row in found["rows"]:
        low, median, high = row["ratio"]
        each = ", ".join(f"{ms:.0f}" for ms in row["milliseconds"])
        rows.append([row["name"], f"{median:.2f} ({low:.2f}–{high:.2f})", each])
    return table(["loss and gradients", "times full (quartiles)", "each process, ms"], rows)


def recurrence_table(shapes: list[dict[str, Any]]) -> str:
    """What the true style costs where there is nothing but the recurrence."""
    return table(
        ["cell", "batch", "steps", "state", "horizon", "true over full", "counted, (h + 2) / 3"],
        [
            [
                *(str(row[key]) for key in ("cell", "batch", "steps", "state", "horizon")),
                f"{row['true']['ratio'][1]:.2f}",
                f"{(row['horizon'] + 2) / 3:.2f}",
            ]
            for row in shapes
        ],
    )


def gradcheck_table(found: dict[str, Any]) -> str:
    """The largest errors."""
    rows = []
    for dtype, allowed in found["tolerances"].items():
        article = max(found[dtype]["article"]["windows"].values())
        everything = max(row["error"] for row in found[dtype]["all"])
        rows.append([dtype, f"{article:.1e}", f"{everything:.1e}", f"{allowed:g}"])
    head = ["", "true beside epochwise, 7 of 7 steps", "every horizon and stride", "allowed"]
    return table(head, rows)


def counts_table(counted: list[dict[str, Any]]) -> str:
    """How many errors reach back how many steps."""
    steps = sorted({int(k) for row in counted for k in row["reach"]})
    rows = [[row["style"], *(str(row["reach"].get(str(k), 0)) for k in steps)] for row in counted]
    return table(["steps that an error reaches back", *map(str, steps)], rows)


def _plan(plan: Schedule) -> str:
    return f"{plan.style}, {plan.horizon}, {plan.seq_len}"
