"""The article's claims, each with a verdict computed from the numbers in results/."""

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments import comparisons, table_cells
from experiments.comparisons import HOLDS, REVERSED, UNDECIDED, Comparison, decide
from experiments.errors import UserError

ABOUT_AS_FAST = 1.1  # times full BPTT
ARTICLE_COUNTS = (42, 7)  # errors that travel 7 steps of 49: true, epochwise
NOT = "does not hold"


class Finding(NamedTuple):
    """A claim, and what became of it."""

    claim: str
    article: str
    here: str
    verdict: str
    sources: tuple[str, ...] = ()  # files, or the folder, of the numbers


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
        (_dependencies, results / "dependency.json"),
        (_williams_peng, results / "williams_peng_delay.json", results / "williams_peng_ptb.json"),
        (_counting, results / "diagram.json"),
        (_gradients, results / "gradcheck.json"),
    ):
        if all(path.exists() for path in paths):
            claims = build(*map(_read, paths))
            made += [claim._replace(sources=tuple(path.name for path in paths)) for claim in claims]
    return made


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{path} is damaged; run its main again.") from None


def overall(verdicts: list[str]) -> str:
    """The verdict of several comparisons together: theirs, where they agree."""
    counts = {verdict: verdicts.count(verdict) for verdict in (HOLDS, REVERSED, UNDECIDED)}
    agreed = [verdict for verdict, count in counts.items() if count == len(verdicts)]
    if agreed:
        return agreed[0]
    return ", ".join(f"{verdict} in {count}" for verdict, count in counts.items() if count)


def _table(rows: list[Comparison]) -> Iterator[Finding]:
    """The claims about losses, rate by rate."""
    claims = {
        comparisons.EQUAL_HORIZON: "true has the lower loss at equal horizon",
        comparisons.EQUAL_LENGTH: "full has the lower loss in sequences of equal length",
        comparisons.EQUAL_UPDATES: "true has the lower loss at equal horizon, as many updates",
        comparisons.FEWER_UPDATES: "epochwise gains from a half to a quarter of the updates",
        comparisons.SEMI: "true has the lower loss than semi-epochwise, as many updates",
    }
    for question, claim in claims.items():
        for rate in table_cells.RATES:
            mine = [r for r in rows if r.question == question and r.learning_rate == rate]
            if not mine:
                continue
            seeds = min(row.seeds for row in mine)
            yield Finding(
                f"{claim}, rate {rate:g}",
                _differences([row.article for row in mine], 2),
                f"{_differences([row.difference for row in mine], 3)}; twice the spread "
                f"{2 * mine[0].spread:.3f}, {seeds} seed{'s' * (seeds > 1)}",
                overall([row.verdict for row in mine]),
                ("table",),
            )


def _differences(values, digits):
    return " ".join("–" if value is None else f"{value:+.{digits}f}" for value in values)


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


def _vanishing(found) -> Iterator[Finding]:
    ratios = np.divide(found["article_l1"][:-1], found["article_l1"][1:])
    low, high = min(ratios), max(ratios)
    mean = float(np.exp(np.mean(np.log(ratios))))
    for row in found["rows"]:
        if row["cell"] == "vanilla" and row["state_size"] in (4, 100):
            factor = statistics.median(row["factor"])
            when = f"after {row['epochs']} epochs" if row["epochs"] else "at initialisation"
            seeds = len(row["factor"])
            spread = f" ({min(row['factor']):.2f}-{max(row['factor']):.2f}, {seeds} seeds)"
            yield Finding(
                f"gradients shrink by about 3 a step: state {row['state_size']}, {when}",
                f"{mean:.2f} a step ({low:.2f}-{high:.2f}), state 4, at initialisation",
                f"{factor:.2f}{spread if seeds > 1 else ''}; √((E+N)/N) is {row['expected']:.2f}",
                HOLDS if low <= factor <= high else NOT,
            )


def _dependencies(found) -> Iterator[Finding]:
    """Of every seed the longest delay of which more than half of the possible gain is learnt."""
    milestones = found["task"]["milestones"]

    def longest(style, horizon):
        row = next(r for r in found["learnt"] if (r["style"], r["horizon"]) == (style, horizon))
        learnt = np.array(row["share"]) > 0.5  # [delays, seeds, milestones]
        delays = np.arange(1, len(learnt) + 1)
        return np.max(learnt * delays[:, None, None], axis=0)

    for horizon in (8, 16):
        true, epochwise = (longest(style, horizon) for style in ("true", "epochwise"))
        for i in (0, len(milestones) - 1):
            pair = true[:, i], epochwise[:, i]
            spread = float(np.sqrt(np.mean([np.var(each, ddof=1) for each in pair])))
            means = [float(np.mean(each)) for each in pair]
            yield Finding(
                "epochwise truncation reaches less far than the true style of the same horizon: "
                f"horizon {horizon}, after {milestones[i]} updates",
                "concluded from the losses",
                f"longest delay learnt {means[1]:.1f} steps, true {means[0]:.1f}; twice the spread "
                f"{2 * spread:.1f}, {len(pair[0])} seeds",
                decide(means[0] - means[1], spread),
            )


def _williams_peng(delay, ptb) -> Iterator[Finding]:
    rows = {row["schedule"]: row for row in delay["rows"]}
    milestone = 2  # 1000 updates, for which the task was made
    updates, trials = delay["task"]["milestones"][milestone], delay["num_seeds"]
    names = ("BPTT(h; 1)", "BPTT(2h; h)", "BPTT(h; h)")
    single, double, _ = (rows[name]["intervals"][milestone] for name in names)
    said = ", ".join(f"{name} {rows[name]['successes'][milestone] / trials:.0%}" for name in names)
    yield Finding(
        f"BPTT(2h; h) succeeds as often as BPTT(h): a delay of {delay['delay']}",
        "quoted from Williams and Peng",
        f"{said} of {trials} seeds after {updates} updates",
        "more often" if double[0] > single[1] else HOLDS if double[1] >= single[0] else NOT,
    )
    for h in sorted({row["h"] for row in ptb["rows"]}):
        losses = {r["schedule"]: r["best_valid_loss"] for r in ptb["rows"] if r["h"] == h}
        means = {name: statistics.fmean(each) for name, each in losses.items()}
        spread = statistics.fmean(map(statistics.variance, losses.values())) ** 0.5
        difference = means["BPTT(2h; h)"] - means["BPTT(h; 1)"]
        said = ", ".join(f"{name} {means[name]:.3f}" for name in names)
        yield Finding(
            f"BPTT(2h; h) does as well as BPTT(h): Penn Treebank, h = {h}",
            "quoted from Williams and Peng",
            f"{said}; twice the spread {2 * spread:.3f}, {len(losses[names[0]])} seeds",
            HOLDS if difference <= 2.0 * spread else NOT,
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
    largest = {
        dtype: max(row["error"] for row in found[dtype]["all"]) for dtype in found["tolerances"]
    }
    within = all(largest[dtype] <= limit for dtype, limit in found["tolerances"].items())
    number = len(found["float64"]["all"])
    yield Finding(
        "where the horizon is the sequence, the true style's gradients are the epochwise ones",
        "within 1e-4, one-sided",
        f"within {largest['float64']:.0e} of the largest entry in float64 and "
        f"{largest['float32']:.0e} in float32, with all {number} horizons and strides",
        HOLDS if within else NOT,
    )
