"""Tables in Markdown, from what the mains have found."""

import math
import statistics
from collections.abc import Iterable
from typing import Any

from experiments.claims import article as claims
from experiments.claims import cells as table_cells
from experiments.claims import comparisons
from experiments.claims.cells import Cell
from experiments.claims.comparisons import Comparison
from experiments.claims.verdicts import Finding, threshold
from experiments.lm.decay import factor
from experiments.lm.styles import Schedule


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    head = list(head)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def article_table(found: dict[Cell, dict]) -> str:
    """The article's cells: here (the article; the difference)."""
    here = {
        (row["style"], row["horizon"], row["learning_rate"]): row["here"]
        for row in table_cells.beside_article(found)
    }

    def cell(plan, i):
        article = table_cells.ARTICLE[plan.style, plan.horizon][i]
        loss = here.get((plan.style, plan.horizon, table_cells.RATES[i]))
        return (
            f"– ({article:.2f})"
            if loss is None
            else f"{loss:.3f} ({article:.2f}; {loss - article:+z.3f})"
        )

    rates = [f"rate {rate:g}" for rate in table_cells.RATES]
    rows = [[_plan(p), *(cell(p, i) for i in range(len(rates)))] for p in table_cells.SCHEDULES]
    return table(["style, horizon, sequence", *rates], rows)


def seeds_table(found: dict[Cell, dict]) -> str:
    """The rates with several seeds, each seed and the mean; and the number of updates."""
    rows = []
    for plan in (*table_cells.SCHEDULES, *table_cells.CONTROLS):
        row = [_plan(plan), "–"]
        for rate in table_cells.REPEATED_RATES:
            losses = table_cells.best(found, Cell(plan, rate))
            row += [" ".join(f"{loss:.3f}" for loss in losses.values()) or "–"]
            row += [f"{statistics.fmean(losses.values()):.3f}" if losses else "–"]
            if losses:
                row[1] = f"{table_cells.updates_per_epoch(found[Cell(plan, rate, min(losses))]):,}"
        rows.append(row)
    head = ["style, horizon, sequence", "updates an epoch"]
    for rate in table_cells.REPEATED_RATES:
        head += [f"rate {rate:g}, each seed", "mean"]
    return table(head, rows)


def parts_table(rows: Iterable[Comparison]) -> str:
    """What the difference at equal horizon is made of: style, and number of updates."""
    asked = comparisons.EQUAL_HORIZON, comparisons.EQUAL_UPDATES, comparisons.FEWER_UPDATES
    found = {}
    for row in rows:
        if row.question in asked and row.learning_rate is not None:
            horizon = min(row.first.horizon, row.second.horizon)
            found.setdefault((row.learning_rate, horizon), {})[row.question] = row
    lines = []
    for (rate, horizon), parts in found.items():
        if len(parts) == len(asked):
            whole, style, updates = (f"{parts[question].difference:+z.3f}" for question in asked)
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


def extras_table(found: dict[Cell, dict]) -> str:
    """The further questions, each beside the cell without the last thing that is different."""
    loss = lambda cell: found[cell]["best_valid_loss"]
    rows = []
    for cell in [cell for cell in table_cells.EXTRAS if cell in found]:
        usual = Cell(cell.schedule)
        own = [name for name in cell._fields[3:] if getattr(cell, name) != getattr(usual, name)]
        row = [_plan(cell.schedule), f"{cell.learning_rate:g}", "the schedule"]
        row += [f"{loss(cell):.3f}", "–", "–"]
        if own:
            row[2] = ", ".join(f"{name}: {getattr(cell, name)}" for name in own)
            without = cell._replace(**{own[-1]: getattr(usual, own[-1])})
            if without in found:
                spread = table_cells.spread(found, cell.learning_rate) or math.inf
                difference = f"{loss(cell) - loss(without):+z.3f} ± {threshold(spread, 1):.3f}"
                row[4:] = f"{loss(without):.3f}", difference
        rows.append(row)
    head = ["style, horizon, sequence", "rate", "what is different", "loss"]
    head += ["without the last", "difference"]
    return table(head, rows) if rows else "None of them is there yet."


def verdicts_table(findings: Iterable[Finding]) -> str:
    """A row a claim."""
    link = lambda source: f"[{source.rsplit('/', 1)[-1]}](../{source})"
    rows = [
        [f.claim, f.article, f.here, f"**{f.verdict}**", ", ".join(map(link, f.sources))]
        for f in findings
    ]
    return table(["claim", "the article", "here", "verdict", "from"], rows)


def vanishing_table(rows: list[dict[str, Any]]) -> str:
    """The factor a step, over all lags and over the first."""

    def of_seeds(values):
        median, low, high = statistics.median(values), min(values), max(values)
        return f"{median:.2f} ({low:.2f}–{high:.2f})" if len(values) > 1 else f"{median:.2f}"

    head = ["cell", "state", "epochs trained", "factor a step, median (range of seeds)"]
    head += [f"over the first {claims.EARLY} steps", "√((E+N)/N)"]
    return table(
        head,
        [
            [
                *(str(row[name]) for name in ("cell", "state_size", "epochs")),
                of_seeds(row["factor"]),
                of_seeds([factor(norms[: claims.EARLY + 1]) for norms in row["l1"]]),
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
    """How many errors travel how many steps."""
    steps = sorted({int(k) for row in counted for k in row["travel"]})
    rows = [[row["style"], *(str(row["travel"].get(str(k), 0)) for k in steps)] for row in counted]
    return table(["steps that an error travels", *map(str, steps)], rows)


def _plan(plan: Schedule) -> str:
    return f"{plan.style}, {plan.horizon}, {plan.seq_len}"
