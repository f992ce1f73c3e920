"""The article's claims, each with a verdict computed from the numbers in results/."""

import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from experiments import comparisons, report, study_claims, table_cells
from experiments.comparisons import Comparison
from experiments.verdicts import HOLDS, NOT, Finding, overall

ABOUT_AS_FAST = 1.1  # times full BPTT
NUM_SCHEDULES = 28  # of horizons 1 to 7 and strides up to the horizon
ARTICLE_COUNTS = (42, 7)  # errors that travel 7 steps of 49: true, epochwise
EARLY = 5  # steps over which vanishing gradients are looked at apart


def findings(results: Path, benchmarks: Path) -> list[Finding]:
    """Every claim whose numbers are there.

    Args:
      results: the folder of the experiments' results.
      benchmarks: that of the benchmarks'.
    """
    found, _ = table_cells.read(results / "table")
    rows = comparisons.comparisons(found)
    made = [*_table(rows)]
    for build, *paths in (
        (
            _speed,
            results / "timing.json",
            benchmarks / "training_step.json",
            benchmarks / "recurrence.json",
        ),
        (_vanishing, results / "vanishing.json"),
        (study_claims.dependencies, results / "dependency.json"),
        (
            study_claims.williams_peng,
            results / "williams_peng_delay.json",
            results / "williams_peng_ptb.json",
        ),
        (_counting, results / "diagram.json"),
        (_gradients, results / "gradcheck.json"),
    ):
        if all(path.exists() for path in paths):
            with report.readable(*paths) as numbers:
                sources = tuple(_source(path, benchmarks) for path in paths)
                made += [finding._replace(sources=sources) for finding in build(*numbers)]
    return made


def _source(path, benchmarks):
    """Where a result is in a checkout."""
    folder = "benchmarks/results" if path.parent == benchmarks else "results"
    return f"{folder}/{path.name}"


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
            each = [f"{r.difference:+.3f} ± {r.limit:.3f} ({r.verdict})" for r in mine]
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


def _speed(timing, training_step, recurrence) -> Iterator[Finding]:
    article = timing["article_ms"]["true"] / timing["article_ms"]["full"]
    sweeps = next(row for row in timing["rows"] if "sweeps" in row["name"])["ratio"]
    definition = next(row for row in timing["rows"] if "definition" in row["name"])["ratio"]
    step = training_step["training"]["true"]["over_full"]
    alone = [shape["true"]["ratio"][1] for shape in recurrence["shapes"]]
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


def early_factor(norms: list[float]) -> float:
    """By how much norms, lag 0 first, fall a step over the first steps: a geometric mean."""
    return (norms[0] / norms[EARLY]) ** (1 / EARLY)


def _vanishing(found) -> Iterator[Finding]:
    ratios = np.divide(found["article_l1"][:-1], found["article_l1"][1:])
    low, high = min(ratios), max(ratios)
    mean = float(np.exp(np.mean(np.log(ratios))))
    for row in found["rows"]:
        if row["cell"] == "vanilla" and row["state_size"] in (4, 100):
            factor = statistics.median(row["factor"])
            early = statistics.median(map(early_factor, row["l1"]))
            when = f"after {row['epochs']} epochs" if row["epochs"] else "at initialisation"
            seeds = len(row["factor"])
            spread = f" ({min(row['factor']):.2f}-{max(row['factor']):.2f}, {seeds} seeds)"
            said = f"{mean:.2f} a step ({low:.2f}-{high:.2f})"
            is_theirs = row["state_size"] == 4 and not row["epochs"]
            yield Finding(
                f"gradients shrink by a factor of about 3 to 4 a step: state {row['state_size']}, "
                f"{when}",
                said if is_theirs else "not there",
                f"{factor:.2f}{spread if seeds > 1 else ', 1 seed'}, over the first {EARLY} steps "
                f"{early:.2f}; √((E+N)/N) is {row['expected']:.2f}",
                HOLDS if low <= factor <= high else NOT,
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
    if not limits or any(len(found[t]["all"]) != NUM_SCHEDULES for t in limits):
        raise ValueError("the check is not whole")
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
