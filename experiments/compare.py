"""Which of the article's claims hold? Verdicts computed from results/.

  python -m experiments.compare

Trains nothing: it reads what the other mains have left, and takes seconds. A claim about losses
holds only where the difference exceeds twice the spread (the standard deviation) between seeds,
pooled over all cells that have several, and 2.8 times where there is one seed; otherwise it is
undecided. At the rates of 0.003 and 0.0003 there is one seed, which is held to the spread at 0.001.
To expect: the true style beats the epochwise one at equal horizon and rate 0.003, and loses to it
at 0.0003, as in the article, where it makes a half to a quarter of its updates.
"""

import textwrap
from pathlib import Path

from absl import flags

from experiments import claims, compare_chart, comparisons, launch, report, table_cells
from experiments.errors import UserError

flags.adopt_module_key_flags(report)

BENCHMARKS = Path(__file__).parents[1] / "benchmarks" / "results"


def main():
    out = report.finished()
    findings = claims.findings(out, BENCHMARKS)
    if not findings:
        raise UserError(f"--out={out} holds no results; run the other mains first.")
    for finding in findings:
        print(f"{finding.claim}: {finding.verdict.upper()}")
        for name in ("article", "here"):
            text = f"{name}: {getattr(finding, name)}"
            print(textwrap.fill(text, 100, initial_indent="    ", subsequent_indent="      "))
    rows = comparisons.comparisons(table_cells.read(out / "table")[0])
    found = {
        "claims": [finding._asdict() for finding in findings],
        "comparisons": [row._asdict() | {"verdict": row.verdict} for row in rows],
    }
    report.write(out, "compare", found)
    if rows:
        compare_chart.draw(rows, out / "compare.png")


if __name__ == "__main__":
    launch.run(main)
