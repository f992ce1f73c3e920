"""Every claim, in sections: which files each is decided by."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from experiments.claims import article, dependencies, numbers, studies
from experiments.claims.comparisons import Comparison
from experiments.claims.verdicts import Finding

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks" / "results"
TABLE = "results/table"


class Section(NamedTuple):
    """Claims that are decided by the same numbers."""

    title: str
    findings: list[Finding]
    sources: tuple[str, ...]  # files, or a folder, of a checkout


class _Source(NamedTuple):
    title: str
    decide: Callable[..., Iterator[Finding]]
    results: tuple[str, ...]
    benchmarks: tuple[str, ...] = ()

    @property
    def paths(self):
        benchmarks = (f"benchmarks/results/{name}" for name in self.benchmarks)
        return (*(f"results/{name}" for name in self.results), *benchmarks)

    def files(self, results: Path, benchmarks: Path):
        return [*map(results.joinpath, self.results), *map(benchmarks.joinpath, self.benchmarks)]


SOURCES = (
    _Source(
        "Speed",
        article.speed,
        ("timing.json",),
        ("training_step.json", "step_time.json", "recurrence.json"),
    ),
    _Source("Vanishing gradients", article.vanishing, ("vanishing.json",)),
    _Source("Dependencies", dependencies.learnt, ("dependency.json",)),
    _Source("Forgetting", dependencies.forgetting, ("forgetting.json",)),
    _Source(
        "BPTT(2h; h)",
        dependencies.williams_peng,
        ("williams_peng_delay.json", "williams_peng_ptb.json"),
    ),
    _Source("Brackets", studies.brackets, ("brackets.json",)),
    _Source("Unbiased", studies.unbiased, ("unbiased.json",)),
    _Source("Temporal credit", studies.temporal_credit, ("temporal_credit.json",)),
    _Source("State passing", studies.state_passing, ("state_passing.json",)),
    _Source("Solver", studies.solver, ("solver.json",)),
    _Source("PTB LSTM", studies.ptb_lstm, ("ptb_lstm.json",)),
    _Source("Counting", article.counting, ("diagram.json",)),
    _Source("Gradients", article.gradients, ("gradcheck.json",)),
)


def sections(
    rows: list[Comparison], results: Path, benchmarks: Path = BENCHMARKS
) -> dict[str, Section]:
    """Every claim, by the title of its section.

    Args:
      rows: the table's comparisons.
      results: the folder of the experiments' results.
      benchmarks: that of the benchmarks'.

    Raises:
      UserError: a result is missing, damaged or incomplete.
    """
    made = [
        Section("Losses", [*article.losses(rows)], (TABLE,)),
        Section("The article's conclusion", [*article.conclusion(rows)], (TABLE,)),
    ]
    for source in SOURCES:
        files = source.files(results, benchmarks)
        found = [*source.decide(*map(numbers.read, files))]
        if not found:
            raise numbers.read(files[0]).lacks("rows")
        made.append(Section(source.title, found, source.paths))
    return {section.title: section for section in made if section.findings}
