"""Writes docs/results.md: page_template.md filled with the numbers in results/.

  python -m experiments.page

Trains nothing; every number in the page is read from a result, and the test suite fails where the
page is not what the results say. Seconds on any machine.
"""

import json
import string
from pathlib import Path
from typing import Any

from absl import flags

from experiments import claims, launch, page_tables, record, report, table_cells
from experiments.errors import UserError

flags.adopt_module_key_flags(report)
flags.DEFINE_string("page", "docs/results.md", "Where to write the page.")

TEMPLATE = Path(__file__).with_name("page_template.md")
BENCHMARKS = Path(__file__).parents[1] / "benchmarks" / "results"
MAINS = ("table", "vanishing", "timing", "gradcheck", "diagram", "compare")


def text(results: Path, benchmarks: Path = BENCHMARKS) -> str:
    """The page.

    Raises:
      UserError: a result is missing.
    """
    found, missing = table_cells.read(results / "table")
    numbers = {name: _read(results / f"{name}.json") for name in MAINS}
    values = {
        "article_table": page_tables.article_table(found),
        "seeds_table": page_tables.seeds_table(found),
        "extras_table": page_tables.extras_table(found),
        "missing": f"{len(missing)} of {len(found) + len(missing)} cells are still to be trained."
        if missing
        else f"All {len(found)} cells are there.",
        "verdicts": page_tables.verdicts(claims.findings(results, benchmarks)),
        "vanishing_table": page_tables.vanishing_table(numbers["vanishing"]["rows"]),
        "timing_table": page_tables.timing_table(numbers["timing"]),
        "recurrence_table": page_tables.recurrence_table(
            _read(benchmarks / "recurrence.json")["shapes"]
        ),
        "gradcheck_table": page_tables.gradcheck_table(numbers["gradcheck"]),
        "counts_table": page_tables.counts_table(numbers["diagram"]["counted"]),
        **table_numbers(numbers["table"]),
        **{f"{name}_command": _command(numbers[name]) for name in MAINS},
    }
    return string.Template(TEMPLATE.read_text(encoding="utf-8")).substitute(values)


def table_numbers(found: dict[str, Any]) -> dict[str, str]:
    """What the text says of the table."""
    names = ("mean_difference", "largest_difference", "largest_pattern")
    numbers = {name: f"{found[name]:+.3f}" for name in names}
    within = sum(abs(row["here"] - row["article"]) <= 0.03 for row in found["rows"])
    return numbers | {
        "cells": str(found["cells"]),
        "within": str(within),
        "mean_size": f"{found['mean_size_of_difference']:.3f}",
        "spread": f"{found['spread_of_seeds']:.3f}" if found["spread_of_seeds"] else "not measured",
        "hours": f"{found['hours']:.1f}",
    }


def _command(found: dict[str, Any]) -> str:
    """The command that made a result, without where this machine keeps its text."""
    return " ".join(word for word in found["command"].split() if "data_dir" not in word)


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        main = path.stem
        raise UserError(f"{path} is missing; `python -m experiments.{main}` makes it.") from None


def main():
    path = Path(flags.FLAGS.page)
    page = text(report.folder())
    path.parent.mkdir(parents=True, exist_ok=True)
    record.replace(path, page)
    print(f"written: {path}")


if __name__ == "__main__":
    launch.run(main)
