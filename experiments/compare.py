"""Which of the article's claims hold? Verdicts computed from results/.

  python -m experiments.compare

Trains nothing: it reads --results, draws into --out, and takes seconds. A claim about losses
holds only where the difference exceeds twice the spread (the standard deviation) between seeds,
pooled over the cells of that rate that have several, and 2.8 times where there is one seed;
otherwise it is undecided. At the rate of 0.0003, which has one seed, the spread is that of the
others. To expect: the true style beats the epochwise one at equal horizon and rate 0.003, and loses
to it at 0.0003, as in the article, where it makes a half to a quarter of its updates.
"""

import textwrap

from absl import flags

from experiments.charts import compare as compare_chart
from experiments.claims import article as claims
from experiments.claims import cells as table_cells
from experiments.claims import comparisons
from experiments.record import launch, results
from experiments.record.errors import UserError

flags.declare_key_flag("out")
flags.declare_key_flag("results")


def main():
    read, out = results.finished(), results.folder()
    rows = comparisons.comparisons(table_cells.read(read / "table")[0])
    if not rows:
        raise UserError(f"{read / 'table'} has no cells to compare; run experiments.table first.")
    for finding in claims.findings(rows, read):
        print(f"{finding.claim}: {finding.verdict.upper()}")
        for name in ("article", "here"):
            text = f"{name}: {getattr(finding, name)}"
            print(textwrap.fill(text, 100, initial_indent="    ", subsequent_indent="      "))
    compare_chart.draw(rows, out / "compare.png")
    print(f"written: {out / 'compare.png'}")


if __name__ == "__main__":
    launch.run(main)
