"""Writes docs/results.md: page_template.md filled with the numbers in results/.

  python -m experiments.page

Trains nothing; every number in the page is read from a result, and the test suite fails where the
page is not what the results say. Seconds on any machine.
"""

import string
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from experiments import claims, launch, page_tables, record, report, table_cells
from experiments.errors import UserError

flags.adopt_module_key_flags(report)
flags.DEFINE_string("page", "docs/results.md", "Where to write the page.")

TEMPLATE = Path(__file__).with_name("page_template.md")
BENCHMARKS = Path(__file__).parents[1] / "benchmarks" / "results"


def text(results: Path, benchmarks: Path = BENCHMARKS) -> str:
    """The page.

    Raises:
      UserError: a result is missing.
    """
    found, missing = table_cells.read(results / "table")
    values = {
        "article_table": page_tables.article_table(found),
        "seeds_table": page_tables.seeds_table(found),
        "extras_table": page_tables.extras_table(found),
        "missing": f"{len(missing)} of {len(found) + len(missing)} cells are still to be trained."
        if missing
        else f"All {len(found)} cells are there.",
        "margin": f"{claims.MARGIN:g}",
        "about_as_fast": f"{claims.ABOUT_AS_FAST:g}",
        "verdicts": page_tables.verdicts(claims.findings(results, benchmarks)),
    }
    for name, build in (
        ("table", table_numbers),
        ("vanishing", vanishing_numbers),
        ("timing", lambda found: {"timing_table": page_tables.timing_table(found)}),
        ("gradcheck", lambda found: {"gradcheck_table": page_tables.gradcheck_table(found)}),
        ("diagram", lambda found: {"counts_table": page_tables.counts_table(found["counted"])}),
        ("compare", compare_numbers),
    ):
        with report.readable(results / f"{name}.json") as (numbers,):
            values |= build(numbers) | {f"{name}_command": _command(name, numbers)}
    with report.readable(benchmarks / "recurrence.json") as (numbers,):
        values["recurrence_table"] = page_tables.recurrence_table(numbers["shapes"])
    return string.Template(TEMPLATE.read_text(encoding="utf-8")).substitute(values)


def table_numbers(found: dict[str, Any]) -> dict[str, str]:
    """What the text says of the table."""
    numbers = {f"{n}_difference": f"{found[f'{n}_difference']:+.3f}" for n in ("mean", "largest")}
    numbers["largest_pattern"] = f"{abs(found['largest_pattern']):.3f}"
    within = sum(abs(row["here"] - row["article"]) <= 0.03 for row in found["rows"])
    return numbers | {
        "cells": str(found["cells"]),
        "within": str(within),
        "mean_size": f"{found['mean_size_of_difference']:.3f}",
        "spread": f"{found['spread_of_seeds']:.3f}" if found["spread_of_seeds"] else "not measured",
        "hours": f"{found['hours']:.1f}",
    }


def vanishing_numbers(found: dict[str, Any]) -> dict[str, str]:
    """What the text says of vanishing gradients."""
    rows = {(r["cell"], r["state_size"], r["epochs"]): r for r in found["rows"]}
    left = {}
    for state in (4, 100):
        norms = np.median(rows["vanilla", state, 0]["l1"], axis=0)
        left[f"left_{state}"] = f"{norms[-1] / norms[0]:.1g}"
    return left | {"vanishing_table": page_tables.vanishing_table(found["rows"])}


def compare_numbers(found: dict[str, Any]) -> dict[str, str]:
    """The chart, where there is something to compare."""
    chart = "![Differences between cells of the table](../results/compare.png)"
    return {"compare_chart": chart if found["comparisons"] else ""}


def _command(name: str, found: dict[str, Any]) -> str:
    """The command that makes a result, without where this machine keeps its text."""
    corpus = ["--corpus=ptb"] if "--corpus=ptb" in found["command"] else []
    return " ".join(["python -m", f"experiments.{name}", *corpus])


def main():
    path = Path(flags.FLAGS.page)
    if not path.name or path.is_dir():
        raise UserError(f"--page={path} is no name of a file.")
    page = text(report.folder())
    path.parent.mkdir(parents=True, exist_ok=True)
    record.replace(path, page)
    print(f"written: {path}")


if __name__ == "__main__":
    launch.run(main)
