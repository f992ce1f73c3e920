"""Which of the article's claims hold? Verdicts computed from results/.

  python -m experiments.compare

Trains nothing: it reads --results, draws into --out, and takes seconds. The rule for claims about
losses is that of experiments.claims.verdicts: paired t tests over seeds at 5 %, Holm's correction
over all horizons and rates of a claim, a margin stated beforehand where losses are claimed to be as
good; one seed gives no verdict. To expect: the true style beats the epochwise one at equal horizon
and rate 0.003.
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
