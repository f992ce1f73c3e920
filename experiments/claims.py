"""The article's claims, each with a verdict computed from the numbers in results/."""

import math
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments import comparisons, report, table_cells
from experiments.comparisons import HOLDS, REVERSED, UNDECIDED, Comparison, decide

ABOUT_AS_FAST = 1.1  # times full BPTT
MARGIN = 0.02  # nats: losses within it are equally good
NUM_SCHEDULES = 28  # of horizons 1 to 7 and strides up to the horizon
ARTICLE_COUNTS = (42, 7)  # errors that travel 7 steps of 49: true, epochwise
EARLY = 5  # steps over which vanishing gradients are looked at apart
NOT = "does not hold"


class Finding(NamedTuple):
    """A claim, and what became of it."""

    claim: str
    article: str
    here: str
    verdict: str
    sources: tuple[str, ...] = ()  # files, or the folder, of the numbers, in a checkout


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
            with report.readable(*paths) as numbers:
                sources = tuple(_source(path, benchmarks) for path in paths)
                made += [finding._replace(sources=sources) for finding in build(*numbers)]
    return made


def _source(path, benchmarks):
    """Where a result is in a checkout."""
    folder = "benchmarks/results" if path.parent == benchmarks else "results"
    return f"{folder}/{path.name}"


def overall(verdicts: list[str]) -> str:
    """The verdict of several comparisons together: theirs, where they agree."""
    if not verdicts:
        raise ValueError("overall: there must be a verdict, got none.")
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
        comparisons.FEWER_UPDATES: "epochwise has the lower loss with an update for two to four "
        "blocks than with one for each",
        comparisons.SEMI: "true has the lower loss than semi-epochwise, as many updates",
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


def _dependencies(found) -> Iterator[Finding]:
    """The share of the possible gain that is learnt at the longest delays within the horizon.

    Seeds are paired: at each, both styles start from the same parameters and see the same stream.
    """

    def shares(style, horizon):
        """[milestones, seeds], mean over the delays of the horizon's last quarter."""
        row = next(r for r in found["learnt"] if (r["style"], r["horizon"]) == (style, horizon))
        share = np.array(row["share"])  # [delays, seeds, milestones], delay 1 first
        return np.mean(share[horizon * 3 // 4 - 1 : horizon - 1], axis=0).T

    for horizon in (8, 16):
        said, made = [], []
        styles = shares("true", horizon), shares("epochwise", horizon)
        for updates, true, epochwise in zip(found["task"]["milestones"], *styles, strict=True):
            gains = (true - epochwise).tolist()
            limit = 2.0 * statistics.stdev(gains) if len(gains) > 1 else math.inf
            made.append(decide(statistics.fmean(gains), limit))
            said.append(
                f"after {updates} updates {np.mean(true):.0%} and {np.mean(epochwise):.0%}, "
                f"{statistics.fmean(gains):+.1%} ± {limit:.1%} ({made[-1]})"
            )
        yield Finding(
            "true learns more of the dependencies near its horizon than epochwise: horizon "
            f"{horizon}, delays {horizon * 3 // 4} to {horizon - 1}",
            "concluded from the losses",
            f"{'; '.join(said)}; of the possible gain, {styles[0].shape[1]} seeds, paired",
            overall(made),
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
        "more often" if double[0] > single[1] else NOT if double[1] < single[0] else UNDECIDED,
    )
    for h in sorted({row["h"] for row in ptb["rows"]}):
        losses = {r["schedule"]: r["best_valid_loss"] for r in ptb["rows"] if r["h"] == h}
        means = {name: statistics.fmean(each) for name, each in losses.items()}
        spread = statistics.fmean(map(statistics.variance, losses.values())) ** 0.5
        difference = means["BPTT(2h; h)"] - means["BPTT(h; 1)"]
        limit = comparisons.threshold(spread, len(losses[names[0]]))
        said = ", ".join(f"{name} {means[name]:.3f}" for name in names)
        verdict = NOT if difference - limit > 0.0 else UNDECIDED
        yield Finding(
            f"BPTT(2h; h) does as well as BPTT(h): Penn Treebank, h = {h}",
            "quoted from Williams and Peng",
            f"{said}; beyond {limit:.3f} counts, seeds: {len(losses[names[0]])}; within {MARGIN} "
            "is as well",
            HOLDS if difference + limit < MARGIN else verdict,
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
