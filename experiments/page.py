"""Writes the page of results: page_template.md filled with the numbers of --results.

  python -m experiments.page --page=docs/results.md

Trains nothing. Our numbers are read from the results, but for a few words of the discussion; the
test suite fails where the page is not what the results say. Seconds on any machine.
"""

import math
import statistics
import string
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from experiments.claims import article as claims
from experiments.claims import cells as table_cells
from experiments.claims import comparisons
from experiments.claims import studies as study_claims
from experiments.claims import tables as page_tables
from experiments.record import files, launch, results
from experiments.record.errors import UserError

flags.declare_key_flag("results")
flags.DEFINE_string("page", "runs/results.md", "Where to write the page.")

AIM = 0.03  # nats from the article's
TEMPLATE = Path(__file__).parent / "claims" / "page_template.md"


def text(folder: Path) -> str:
    """The page.

    Raises:
      UserError: a result is missing.
    """
    found, missing = table_cells.read(folder / "table")
    rows = comparisons.comparisons(found)
    findings = claims.findings(rows, folder)
    summary = table_cells.summary(found)
    values = {
        "article_table": page_tables.article_table(found),
        "seeds_table": page_tables.seeds_table(found),
        "parts_table": page_tables.parts_table(rows),
        "extras_table": page_tables.extras_table(found),
        "missing": f"{len(missing)} of {len(found) + len(missing)} cells are still to be trained."
        if missing
        else f"All {len(found)} cells are there.",
        "margin": f"{study_claims.MARGIN:g}",
        "about_as_fast": f"{claims.ABOUT_AS_FAST:g}",
        "verdicts": page_tables.verdicts_table(findings),
    }
    values |= table_numbers(summary)
    for name, build in (
        ("vanishing", vanishing_numbers),
        ("timing", lambda found: {"timing_table": page_tables.timing_table(found)}),
        ("gradcheck", lambda found: {"gradcheck_table": page_tables.gradcheck_table(found)}),
        ("diagram", lambda found: {"counts_table": page_tables.counts_table(found["counted"])}),
    ):
        numbers = results.read(folder / f"{name}.json")
        values |= build(numbers) | {f"{name}_command": _command(numbers)}
    numbers = results.read(claims.BENCHMARKS / "recurrence.json")
    values["recurrence_table"] = page_tables.recurrence_table(numbers["shapes"])
    return string.Template(TEMPLATE.read_text(encoding="utf-8")).substitute(values)


def table_numbers(found: dict[str, Any]) -> dict[str, str]:
    """What the text says of the table."""
    numbers = {f"{n}_difference": f"{found[f'{n}_difference']:+.3f}" for n in ("mean", "largest")}
    spreads = found["spread_of_seeds"].items()
    said = [f"{spread:.3f} at the rate of {rate}" for rate, spread in spreads if spread]
    within = sum(abs(row["here"] - row["article"]) <= AIM for row in found["rows"])
    pattern = statistics.pstdev(row["pattern"] for row in found["rows"])
    error = pattern / math.sqrt(found["cells"])
    return numbers | {
        "pattern": f"{pattern:.3f}",
        "offset_error": f"{error:.3f}",
        "offset_errors": f"{abs(found['mean_difference']) / error:.1f}",
        "cells": str(found["cells"]),
        "within": str(within),
        "aim": f"{AIM:g}",
        "mean_size": f"{found['mean_size_of_difference']:.3f}",
        "largest_pattern": f"{abs(found['largest_pattern']):.3f}",
        "spread": " and ".join(said) or "not measured",
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


def _command(found: dict[str, Any]) -> str:
    """The command that made a result, without where it found its text and wrote."""
    words = found["command"].split()
    return " ".join(word for word in words if not word.startswith(("--data_dir=", "--out=")))


def main():
    values = flags.FLAGS
    folder, path = results.finished(), Path(values.page)
    if not path.name or (path.exists() and not path.is_file()):
        raise UserError(f"--page={path} is no name of a file.")
    page = text(folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path.resolve(), page)
    except OSError as error:
        raise UserError(f"--page={path} cannot be written: {error.strerror}.") from None
    print(f"written: {path}")


if __name__ == "__main__":
    launch.run(main)
