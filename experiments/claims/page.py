"""The page of results: page_template.md filled with numbers; no result in it is written by hand."""

import math
import statistics
import string
from pathlib import Path
from typing import Any

import numpy as np

from experiments.claims import numbers, runs, sections, studies, tables
from experiments.claims.article import ABOUT_AS_FAST
from experiments.claims.cells import RATES, REPEATED_RATES
from experiments.claims.comparisons import EQUAL_HORIZON, EQUAL_LENGTH, EQUAL_UPDATES, comparisons
from experiments.claims.sections import Section

AIM = 0.03  # nats from the article's
TEMPLATE = Path(__file__).parent / "page_template.md"


def text(folder: Path) -> str:
    """The page.

    Args:
      folder: the results.

    Raises:
      UserError: one is missing, damaged or incomplete.
    """
    finished, missing = runs.read(folder / "table")
    summary = runs.summary(finished)
    rows = comparisons(finished)
    found = sections.sections(rows, folder)
    verdicts = {
        "verdicts_" + "".join(filter(str.isalnum, title)).lower(): tables.verdicts_table(section)
        for title, section in found.items()
    }
    values = {
        "summary": summary_lines(found, summary),
        "article_table": tables.article_table(finished),
        "seeds_table": tables.seeds_table(finished),
        "parts_table": tables.parts_table(rows),
        "extras_table": tables.extras_table(finished),
        "missing": f"{len(finished)} of {len(finished) + len(missing)} cells are finished.",
        "hours": f"{math.fsum(run.seconds for run in finished.values()) / 3600:.1f}",
        "spread": _spreads(finished),
        "margin": f"{studies.MARGIN:g}",
        "about_as_fast": f"{ABOUT_AS_FAST:g}",
    }
    values |= table_numbers(summary) | verdicts
    for name, build in (
        ("vanishing", vanishing_numbers),
        ("timing", lambda found: {"timing_table": tables.timing_table(found)}),
        ("gradcheck", lambda found: {"gradcheck_table": tables.gradcheck_table(found)}),
        ("diagram", lambda found: {"counts_table": tables.counts_table(found["counted"])}),
    ):
        result = numbers.read(folder / f"{name}.json")
        values |= build(result) | {f"{name}_command": _command(result)}
    result = numbers.read(sections.BENCHMARKS / "recurrence.json")
    values["recurrence_table"] = tables.recurrence_table(result["shapes"])
    return string.Template(TEMPLATE.read_text(encoding="utf-8")).substitute(values)


def summary_lines(found: dict[str, Section], summary: runs.Summary) -> str:
    """The page in five lines."""
    of = {title: list(section.findings) for title, section in found.items()}
    losses = lambda claim: "; ".join(
        f"{f.verdict} at {f.case}"
        for f in of["Losses"]
        if f.claim == claim and f.case.startswith("rate")
    )
    costs = "; ".join(f"{f.case}: {f.here[0]}" for f in of["Speed"])
    errors = "; ".join(f"{f.case}: {f.here[0]}" for f in of["Gradients"][-2:])
    vanishing = [f for f in of["Vanishing gradients"] if f.case == "at initialisation"]
    factors = "; ".join(
        f"{f.claim.rsplit(', ', 1)[-1]}: {f.here[0].split(' ')[0]}" for f in vanishing
    )
    within = sum(abs(row.difference) <= AIM for row in summary.rows)
    lines = [
        f"The table: {within} of {len(summary.rows)} losses are within {AIM:g} nats per word of "
        f"the article's, mean absolute difference {summary.mean:.3f}.",
        f"{EQUAL_HORIZON.capitalize()} (horizons are counted): {losses(EQUAL_HORIZON)}. With as "
        f"many updates: {losses(EQUAL_UPDATES)}.",
        f"{EQUAL_LENGTH.capitalize()}: {losses(EQUAL_LENGTH)}.",
        f"The cost of true truncation: {costs}.",
        f"The factor by which gradients shrink per step at initialisation: {factors}. Gradients "
        f"beside the definition's: {errors}.",
    ]
    return "\n".join(f"{i}. {line}" for i, line in enumerate(lines, start=1))


def table_numbers(summary: runs.Summary) -> dict[str, str]:
    """What the text says of the table."""
    pattern = statistics.pstdev(summary.patterns)
    error = pattern / math.sqrt(len(summary.rows))
    return {
        "within": str(sum(abs(row.difference) <= AIM for row in summary.rows)),
        "cells": str(len(summary.rows)),
        "aim": f"{AIM:g}",
        "offset": f"{summary.offset:+.3f}",
        "mean": f"{summary.mean:.3f}",
        "largest": f"{summary.largest:+.3f}",
        "largest_pattern": f"{max(map(abs, summary.patterns)):.3f}",
        "pattern": f"{pattern:.3f}",
        "offset_error": f"{error:.3f}",
    }


def _spreads(finished):
    each = [(rate, runs.spread(finished, rate)) for rate in RATES if rate in REPEATED_RATES]
    said = [f"{spread:.3f} at rate {rate:g}" for rate, spread in each if spread is not None]
    return " and ".join(said) or "not measured"


def vanishing_numbers(found: numbers.Numbers) -> dict[str, str]:
    """What the text says of vanishing gradients."""
    left = {}
    for state in (4, 100):
        row = found.row("rows", cell="vanilla", state_size=state, epochs=0)
        norms = np.median(row["l1"], axis=0)
        left[f"left_{state}"] = f"{norms[-1] / norms[0]:.1g}"
    return left | {"vanishing_table": tables.vanishing_table(found["rows"])}


def _command(found: dict[str, Any]) -> str:
    """The command that made a result, without where it found its text and wrote."""
    words = found["command"].split()
    return " ".join(word for word in words if not word.startswith(("--data_dir=", "--out=")))
