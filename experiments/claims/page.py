"""The page of results: page_template.md filled with the numbers of the finished results."""

import collections
import math
import statistics
import string
from pathlib import Path
from typing import Any

import numpy as np

from experiments.claims import changes, numbers, runs, sections, tables
from experiments.claims.article import ABOUT_AS_FAST
from experiments.claims.cells import (
    EXTRAS,
    MIDDLE_RATE,
    NUM_EPOCHS,
    NUM_SEEDS,
    RATES,
    SCHEDULES,
    Cell,
)
from experiments.claims.comparisons import EQUAL_HORIZON, EQUAL_LENGTH, EQUAL_UPDATES, comparisons
from experiments.claims.sections import Section
from experiments.claims.verdicts import MARGIN

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
    before = numbers.read(folder / "verdicts_before.json")
    findings = [finding for section in found.values() for finding in section.findings]
    values = {
        "summary": summary_lines(found, summary),
        "margin": f"{MARGIN:g}",
        "middle_rate": f"{MIDDLE_RATE:g}",
        "about_as_fast": f"{ABOUT_AS_FAST:g}",
        "missing": missing_text(finished, missing),
        "parts_table": tables.parts_table(rows),
        "test_table": changes.test_table(rows, comparisons(finished, runs.TEST)),
        "rule_table": changes.rule_table(before, rows, findings),
    }
    values |= of_runs(finished, summary) | table_numbers(summary) | of_files(folder) | verdicts
    return string.Template(TEMPLATE.read_text(encoding="utf-8")).substitute(values)


def of_runs(finished: runs.Runs, summary: runs.Summary) -> dict[str, str]:
    """What the page says of the table's runs."""
    return {
        "article_table": tables.article_table(finished),
        "seeds_table": tables.seeds_table(finished),
        "extras_table": tables.extras_table(finished),
        "lstm_table": tables.lstm_table(comparisons(finished, cell="lstm")),
        "hours": f"{math.fsum(run.seconds for run in finished.values()) / 3600:.1f}",
        "noise": noise_text(finished),
        "best_epochs": best_epochs(finished),
        "of_means": seeds_offset(finished, summary),
        "epsilon": epsilon_difference(finished),
    }


def of_files(folder: Path) -> dict[str, str]:
    """What it says of the other experiments, and their commands."""
    values = {}
    for name, build in (
        ("vanishing", vanishing_numbers),
        ("timing", lambda found: {"timing_table": tables.timing_table(found)}),
        ("gradcheck", lambda found: {"gradcheck_table": tables.gradcheck_table(found)}),
        ("diagram", lambda found: {"counts_table": tables.counts_table(found["counted"])}),
    ):
        result = numbers.read(folder / f"{name}.json")
        values |= build(result) | {f"{name}_command": _command(result)}
    result = numbers.read(sections.BENCHMARKS / "recurrence.json")
    return values | {"recurrence_table": tables.recurrence_table(result["shapes"])}


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
    offsets = [f"{offset:+z.3f} at rate {rate:g}" for rate, offset in summary.offsets.items()]
    return {
        "within": str(sum(abs(row.difference) <= AIM for row in summary.rows)),
        "cells": str(len(summary.rows)),
        "aim": f"{AIM:g}",
        "offsets": ", ".join(offsets),
        "mean": f"{summary.mean:.3f}",
        "largest": f"{summary.largest:+.3f}",
        "largest_pattern": f"{max(map(abs, summary.patterns)):.3f}",
        "pattern": f"{pattern:.3f}",
    }


def missing_text(finished: runs.Runs, missing: list[Cell]) -> str:
    """How many cells are finished, and which are not."""
    groups = {}
    for cell in missing:
        groups.setdefault((cell.cell, cell.learning_rate), []).append(cell.seed)
    said = [f"{len(finished)} of {len(finished) + len(missing)} cells are finished"]
    for (cell, rate), seeds in groups.items():
        counts = collections.Counter(seeds).items()
        each = ", ".join(f"{count} of seed {seed}" for seed, count in sorted(counts))
        said.append(f"missing at rate {rate:g}, {cell}: {each}")
    return "; ".join(said) + "."


def noise_text(finished: runs.Runs) -> str:
    """The noise of a paired difference at each rate that has several seeds, on both texts."""
    said = []
    for rate in RATES:
        of = [runs.noise(finished, rate, measure) for measure in (runs.VALID, runs.TEST)]
        if of[0].df:
            valid, test = (each.variance**0.5 for each in of)
            where = f"at rate {rate:g}, {of[0].df} degrees of freedom"
            said.append(f"{valid:.4f} ({test:.4f} on the test text) {where}")
    return "; ".join(said) or "not measured"


def best_epochs(finished: runs.Runs) -> str:
    """In which epoch the article's cells are best, over all seeds at each rate."""
    said = []
    for rate in RATES:
        seeds = range(NUM_SEEDS)
        cells = [Cell(schedule, rate, seed) for schedule in SCHEDULES for seed in seeds]
        of = [finished[cell] for cell in cells if cell in finished]
        best = [run.valid_loss.index(run.loss) + 1 for run in of]
        if best:
            span = f"{min(best)} to {max(best)}" if len({*best}) > 1 else f"{best[0]}"
            late = sum(epoch == NUM_EPOCHS for epoch in best)
            said.append(f"{span} at rate {rate:g} (the last in {late} of {len(best)} runs)")
    return "; ".join(said)


def seeds_offset(finished: runs.Runs, summary: runs.Summary) -> str:
    """The offset of the middle rate with the mean over the seeds in place of the first."""
    cells = [row for row in summary.rows if row.cell.learning_rate == MIDDLE_RATE]
    means = [statistics.fmean(runs.losses(finished, row.cell).values()) for row in cells]
    offset = statistics.fmean(x - row.article for x, row in zip(means, cells, strict=True))
    return f"{offset:+z.3f} at rate {MIDDLE_RATE:g}"


def epsilon_difference(finished: runs.Runs) -> str:
    """How far Adam on the article's scale ends from Adam on ours, in nats."""
    (scaled,) = (cell for cell in EXTRAS if cell.epsilon is not None)
    ours = scaled._replace(epsilon=None)
    if not {scaled, ours} <= finished.keys():
        return "(not measured)"
    return f"{finished[scaled].loss - finished[ours].loss:+z.4f}"


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
