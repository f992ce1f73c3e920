"""Draws the charts of results again, from their numbers.

  python -m experiments.redraw --out=results

Measures nothing: it reads --results, draws what is there into --out, and takes a minute. A chart's
file holds a digest of the numbers that it shows, and a test compares it with the committed results.
"""

import importlib
from importlib.util import find_spec
from pathlib import Path

from absl import flags

from experiments.charts import compare, diagram, table, williams_peng
from experiments.claims import numbers, runs
from experiments.claims.comparisons import comparisons
from experiments.record import launch, results

flags.declare_key_flag("out")
flags.declare_key_flag("results")


def draw(folder: Path, out: Path) -> None:
    """Draws into `out` every chart whose numbers are in `folder`."""
    finished, _ = runs.read(folder / "table")
    if finished:
        table.draw(finished, out)
    if rows := comparisons(finished):
        compare.draw(rows, out / "compare.png")
    if any(folder.glob("williams_peng_*.json")):
        williams_peng.draw(folder, out / "williams_peng.png")
    for path in sorted(folder.glob("*.json")):
        chart = f"experiments.charts.{path.stem}"
        if "." not in path.stem and find_spec(chart):
            importlib.import_module(chart).draw(numbers.read(path), out / f"{path.stem}.png")
    if (folder / "diagram.json").exists():
        diagram.draw(numbers.read(folder / "diagram.json"), out / "diagram.svg")


def main():
    folder, out = results.finished(), results.folder()
    draw(folder, out)
    print(f"drawn: {out}")


if __name__ == "__main__":
    launch.run(main)
