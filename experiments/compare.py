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
from experiments.claims import runs
from experiments.claims.comparisons import comparisons
from experiments.claims.sections import sections
from experiments.record import launch, results
from experiments.record.errors import UserError

flags.declare_key_flag("out")
flags.declare_key_flag("results")


def main():
    folder, out = results.finished(), results.folder()
    rows = comparisons(runs.read(folder / "table")[0])
    if not rows:
        raise UserError(f"{folder / 'table'} has no cells to compare; run experiments.table first.")
    for section in sections(rows, folder).values():
        for finding in section.findings:
            print(f"{finding.claim}, {finding.case}: {finding.verdict.upper()}")
            for name, text in (("article", finding.article), ("here", "; ".join(finding.here))):
                if text:
                    text = textwrap.fill(f"{name}: {text}", 94, subsequent_indent="  ")
                    print(textwrap.indent(text, "    "))
    compare_chart.draw(rows, out / "compare.png")
    print(f"written: {out / 'compare.png'}")


if __name__ == "__main__":
    launch.run(main)
