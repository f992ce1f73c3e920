"""The article's claims, each with a verdict computed from the numbers in results/."""

import itertools
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from experiments.claims import comparisons
from experiments.claims import studies as study_claims
from experiments.claims.comparisons import Comparison
from experiments.claims.verdicts import HOLDS, NOT, REVERSED, Finding, overall
from experiments.lm.decay import factor
from experiments.record.errors import UserError
from experiments.record.results import read

BENCHMARKS = Path(__file__).parents[2] / "benchmarks" / "results"
ABOUT_AS_FAST = 1.1  # times full BPTT
SCHEDULES = {(horizon, stride) for horizon in range(1, 8) for stride in range(1, horizon + 1)}
ARTICLE_COUNTS = (42, 7)  # errors that travel 7 steps of 49: true, epochwise
EARLY = 5  # steps over which vanishing gradients are looked at apart


class Source(NamedTuple):
    """Files, and the claims that are decided by their numbers."""

    build: Callable[..., Iterator[Finding]]
    results: tuple[str, ...]
    benchmarks: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """In a checkout."""
        benchmarks = (f"benchmarks/results/{name}" for name in self.benchmarks)
        return (*(f"results/{name}" for name in self.results), *benchmarks)

    def files(self, results: Path, benchmarks: Path) -> list[Path]:
        """In these folders."""
        return [*map(results.joinpath, self.results), *map(benchmarks.joinpath, self.benchmarks)]


def findings(rows: list[Comparison], results: Path, benchmarks: Path = BENCHMARKS) -> list[Finding]:
    """Every claim.

    Args:
      rows: the table's comparisons.
      results: the folder of the experiments' results.
      benchmarks: that of the benchmarks'.

    Raises:
      UserError: a result is missing or damaged.
    """
    made = [*_table(rows), *_worth(rows)]
    for source in SOURCES:
        files = source.files(results, benchmarks)
        found = [f._replace(sources=source.paths) for f in source.build(*map(read, files))]
        if not found:
            raise UserError(f"{files[0]} lacks rows; run its command again.")
        made += found
    return made


def _table(rows: list[Comparison]) -> Iterator[Finding]:
    """The claims about losses, rate by rate."""
    claims = {
        comparisons.EQUAL_HORIZON: "true has the lower loss at equal horizon",
        comparisons.EQUAL_LENGTH: "full has the lower loss in sequences of equal length",
        comparisons.EQUAL_UPDATES: "true has the lower loss at equal horizon, as many updates",
        comparisons.FEWER_UPDATES: "epochwise has the lower loss with an update for two to four "
        "blocks than with one for each",
        comparisons.SEMI: "true has the lower loss beside semi-epochwise, as many updates",
    }
    for question, claim in claims.items():
        for rate in comparisons.RATES:
            mine = [r for r in rows if r.question == question and r.learning_rate == rate]
            if not mine:
                continue
            horizons = [min(row.first.horizon, row.second.horizon) for row in mine]
            each = [f"{r.difference:+z.3f} ± {r.limit:.3f} ({r.verdict})" for r in mine]
            article = [None if row.article is None else f"{row.article:+.2f}" for row in mine]
            seeds = "/".join(map(str, sorted({row.seeds for row in mine})))
            yield Finding(
                f"{claim}, {comparisons.name_of(rate)}",
                _by_horizon(horizons, article) or "not there",
                f"{_by_horizon(horizons, each)}; seeds: {seeds}",
                overall([row.verdict for row in mine]),
                ("results/table",),
            )


def _by_horizon(horizons, texts):
    """What is said of each horizon, the truncated style's."""
    pairs = zip(horizons, texts, strict=True)
    return ", ".join(f"h {horizon}: {text}" for horizon, text in pairs if text is not None)


def _worth(rows: list[Comparison]) -> Iterator[Finding]:
    """The article's first conclusion, as far as losses decide it."""
    rates = [row for row in rows if row.learning_rate is not None]
    verdicts = [row.verdict for row in rates if row.question == comparisons.EQUAL_LENGTH]
    if verdicts:
        ahead, behind = verdicts.count(REVERSED), verdicts.count(HOLDS)
        yield Finding(
            "true BPTT is not worth it for this model: its loss is nowhere lower than full BPTT's "
            "in sequences of equal length",
            "its first conclusion",
            f"lower by more than the noise in {ahead} of {len(verdicts)} comparisons, higher in "
            f"{behind}",
            NOT if ahead else HOLDS,
            ("results/table",),
        )


def _speed(timing, training_step, recurrence) -> Iterator[Finding]:
    article = timing["article_ms"]["true"] / timing["article_ms"]["full"]
    sweeps = timing.row("rows", name="true, by sweeps")["ratio"]
    definition = timing.row("rows", name="true, by the definition")["ratio"]
    step = training_step["training"]["true"]["over_full"]
    alone = [shape["true"]["ratio"][1] for shape in recurrence["shapes"]]
    if not all(0.0 < low <= middle <= high for low, middle, high in (sweeps, definition, step)):
        raise timing.lacks("quartiles of ratios of times")
    yield Finding(
        "an efficient true BPTT is about as fast as full BPTT, where a readout of 10,000 words "
        "dominates",
        f"expected; its own, not efficient: {article:.2f} times full",
        f"{sweeps[1]:.2f} ({sweeps[0]:.2f}-{sweeps[2]:.2f}) times full at the article's timing, "
        f"{step[1]:.2f} ({step[0]:.2f}-{step[2]:.2f}) in the table's training step; straight from "
        f"the definition {definition[1]:.1f}",
        HOLDS if max(sweeps[2], step[2]) <= ABOUT_AS_FAST else NOT,
    )
    yield Finding(
        "an efficient true BPTT is about as fast as full BPTT, for a recurrence alone",
        "said without a condition",
        f"{min(alone):.1f} to {max(alone):.1f} times full on {len(alone)} shapes of RNN and LSTM",
        HOLDS if max(alone) <= ABOUT_AS_FAST else NOT,
    )


def _vanishing(found) -> Iterator[Finding]:
    article = found["article_l1"]
    ratios = [before / after for before, after in itertools.pairwise(article)]
    low, high = min(ratios), max(ratios)
    for row in found["rows"]:
        if row["cell"] == "vanilla" and row["state_size"] in (4, 100):
            median = statistics.median(row["factor"])
            early = statistics.median(factor(norms[: EARLY + 1]) for norms in row["l1"])
            when = f"after {row['epochs']} epochs" if row["epochs"] else "at initialisation"
            seeds = len(row["factor"])
            spread = f" ({min(row['factor']):.2f}-{max(row['factor']):.2f}, {seeds} seeds)"
            said = f"{factor(article):.2f} a step ({low:.2f}-{high:.2f})"
            is_theirs = row["state_size"] == 4 and not row["epochs"]
            yield Finding(
                f"gradients shrink by a factor of about 3 to 4 a step: state {row['state_size']}, "
                f"{when}",
                said if is_theirs else "not there",
                f"{median:.2f}{spread if seeds > 1 else ', 1 seed'}, over the first {EARLY} steps "
                f"{early:.2f}; √((E+N)/N) is {row['expected']:.2f}",
                HOLDS if low <= median <= high else NOT,
            )


def _counting(found) -> Iterator[Finding]:
    true, epochwise = found["counted"]
    horizon = str(true["horizon"])
    counts = true["travel"][horizon], epochwise["travel"][horizon]
    yield Finding(
        f"of {true['seq_len']} errors, {ARTICLE_COUNTS[0]} travel {horizon} steps in the true "
        f"style, {ARTICLE_COUNTS[1]} epochwise",
        "counted in its text; the windows of its code give 43",
        f"{counts[0]} and {counts[1]}",
        HOLDS if counts == ARTICLE_COUNTS else NOT,
    )


def _gradients(found) -> Iterator[Finding]:
    limits = found["tolerances"]
    schedules = lambda dtype: sorted((r["horizon"], r["stride"]) for r in found[dtype]["all"])
    if not limits or any(schedules(dtype) != sorted(SCHEDULES) for dtype in limits):
        raise found.lacks("some of its schedules")
    article = {t: max(found[t]["article"]["windows"].values()) for t in limits}
    everything = {t: max(row["error"] for row in found[t]["all"]) for t in limits}
    for claim, said, errors in (
        (
            "where the horizon is the sequence, the true style's gradients are the epochwise ones",
            "within 1e-4, one-sided",
            article,
        ),
        ("with every horizon and stride, gradients are the definition's", "not there", everything),
    ):
        here = ", ".join(f"within {error:.0e} in {dtype}" for dtype, error in errors.items())
        within = all(errors[dtype] <= limit for dtype, limit in limits.items())
        yield Finding(claim, said, f"{here} of the largest entry", HOLDS if within else NOT)


SOURCES = (
    Source(_speed, ("timing.json",), ("training_step.json", "recurrence.json")),
    Source(_vanishing, ("vanishing.json",)),
    Source(study_claims.dependencies, ("dependency.json",)),
    Source(study_claims.williams_peng, ("williams_peng_delay.json", "williams_peng_ptb.json")),
    Source(_counting, ("diagram.json",)),
    Source(_gradients, ("gradcheck.json",)),
)
