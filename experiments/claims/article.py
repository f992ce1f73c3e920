"""The article's claims, each with a verdict computed from finished results."""

import itertools
import math
import statistics
from collections.abc import Iterator

from experiments.claims import comparisons
from experiments.claims.comparisons import Comparison
from experiments.claims.numbers import Numbers
from experiments.claims.verdicts import (
    HOLDS,
    MARGIN,
    NOT,
    Finding,
    below,
    interval_text,
    overall,
    within,
)
from experiments.lm.decay import factor
from experiments.record import alternation

ABOUT_AS_FAST = 1.1  # times full BPTT
SCHEDULES = {(horizon, stride) for horizon in range(1, 8) for stride in range(1, horizon + 1)}
ARTICLE_COUNTS = (42, 7)  # of 49 errors, those that reach 7 steps back: true, epochwise
EARLY = 5  # steps over which vanishing gradients are looked at apart


def losses(rows: list[Comparison]) -> Iterator[Finding]:
    """The claims about losses, at each learning rate."""
    for claim in comparisons.CLAIMS:
        for rate in comparisons.RATES:
            mine = [row for row in rows if (row.claim, row.learning_rate) == (claim, rate)]
            if not mine:
                continue
            article = [f"h {r.horizon}: {r.article:+.2f}" for r in mine if r.article is not None]
            here = [f"h {r.horizon}: {interval_text(r.estimate, r.p)}" for r in mine]
            seeds = "/".join(map(str, sorted({row.seeds for row in mine})))
            yield Finding(
                claim,
                comparisons.name_of(rate),
                ", ".join(article),
                (*here, f"seeds: {seeds}"),
                overall([row.verdict for row in mine]),
            )


def conclusion(rows: list[Comparison]) -> Iterator[Finding]:
    """The article's first conclusion, as far as losses decide it: full is as good as true."""
    is_asked = lambda row: row.claim == comparisons.EQUAL_LENGTH and row.learning_rate is not None
    asked = [row for row in rows if is_asked(row)]
    if not asked:
        return
    estimates = [row.estimate for row in asked]
    claims = {
        "true BPTT is not worth it for this model: full BPTT's loss is at most "
        f"{MARGIN:g} nats higher in sequences of equal length": (
            "its first conclusion",
            below(estimates, MARGIN),
        ),
        f"full and true BPTT are equivalent: their losses differ by less than {MARGIN:g} nats": (
            "",
            within(estimates, MARGIN),
        ),
    }
    for claim, (said, judged) in claims.items():
        for row, (verdict, p) in zip(asked, judged, strict=True):
            where = f"{comparisons.name_of(row.learning_rate)}, horizon {row.horizon}"
            here = interval_text(row.estimate, p), f"seeds: {row.seeds}"
            yield Finding(claim, where, said, here, verdict)


def speed(
    timing: Numbers, training_step: Numbers, step_time: Numbers, recurrence: Numbers
) -> Iterator[Finding]:
    """What true truncation costs beside full BPTT."""
    article = timing["article_ms"]["true"] / timing["article_ms"]["full"]
    gradients = step_time["settings"]["table"]
    true, full = (
        [statistics.median(calls) for calls in gradients.row("variants", **ours)["rounds"]]
        for ours in ({"peer": "ours", "variant": style} for style in ("true", "full"))
    )
    alone = sorted(shape["true"]["ratio"][1] for shape in recurrence["shapes"])
    step = training_step["training"]["true"]
    cases = {
        "the article's timing": (
            timing,
            f"expected; its own, not efficient, takes {article:.2f} times full",
            timing.row("rows", name="true, by sweeps")["ratio"],
        ),
        "the table's training step": (training_step, "", step["over_full"]),
        "its loss and gradients alone": (step_time, "", alternation.ratios(true, full)),
        f"a recurrence alone, {len(alone)} shapes": (
            recurrence,
            "stated without a condition",
            [alone[0], statistics.median(alone), alone[-1]],
        ),
    }
    for case, (source, said, (low, middle, high)) in cases.items():
        if not 0.0 < low <= middle <= high:
            raise source.lacks("quartiles of ratios of times")
        yield Finding(
            "an efficient true BPTT is about as fast as full BPTT",
            case,
            said,
            (f"{middle:.2f} ({low:.2f}-{high:.2f}) times full",),
            HOLDS if high <= ABOUT_AS_FAST else NOT,
        )


def vanishing(found: Numbers) -> Iterator[Finding]:
    """The factor by which gradients shrink per step."""
    article = found["article_l1"]
    ratios = [before / after for before, after in itertools.pairwise(article)]
    low, high = min(ratios), max(ratios)
    for row in found["rows"]:
        if row["cell"] == "vanilla" and row["state_size"] in (4, 100):
            factors = row["factor"]
            median = statistics.median(factors)
            early = statistics.median(factor(norms[: EARLY + 1]) for norms in row["l1"])
            seeds = f"{len(factors)} seeds, {min(factors):.2f}-{max(factors):.2f}"
            is_theirs = row["state_size"] == 4 and not row["epochs"]
            yield Finding(
                f"gradients shrink by a factor of about 3 to 4 per step, state {row['state_size']}",
                f"after {row['epochs']} epochs" if row["epochs"] else "at initialisation",
                f"{factor(article):.2f} per step ({low:.2f}-{high:.2f})" if is_theirs else "",
                (
                    f"{median:.2f} ({seeds if len(factors) > 1 else '1 seed'})",
                    f"{early:.2f} over the first {EARLY} steps",
                    f"√((E+N)/N) is {row['expected']:.2f}",
                ),
                HOLDS if low <= median <= high else NOT,
            )


def counting(found: Numbers) -> Iterator[Finding]:
    """How many errors reach back the whole horizon."""
    true, epochwise = found["counted"]
    horizon = str(true["horizon"])
    counts = true["reach"][horizon], epochwise["reach"][horizon]
    yield Finding(
        f"{ARTICLE_COUNTS[0]} errors of the true style reach {horizon} steps back, "
        f"{ARTICLE_COUNTS[1]} of the epochwise style",
        f"of {true['seq_len']} errors",
        "counted in its text; the windows of its code give 43",
        (f"{counts[0]} and {counts[1]}",),
        HOLDS if counts == ARTICLE_COUNTS else NOT,
    )


def rounded_up(error: float) -> str:
    """An error in one digit that is not below it."""
    digit = f"{error:.0e}"
    if float(digit) < error:
        digit = f"{error + 10.0 ** math.floor(math.log10(error)) / 2:.0e}"
    return digit


def gradients(found: Numbers) -> Iterator[Finding]:
    """Whether gradients are what they must be."""
    limits = found["tolerances"]
    schedules = lambda dtype: sorted((r["horizon"], r["stride"]) for r in found[dtype]["all"])
    if not limits or any(schedules(dtype) != sorted(SCHEDULES) for dtype in limits):
        raise found.lacks("some of its schedules")
    claims = {
        "where the horizon is the sequence, the true style's gradients are the epochwise ones": (
            "within 1e-4, one-sided",
            {dtype: max(found[dtype]["article"]["windows"].values()) for dtype in limits},
        ),
        "at every horizon and stride, the gradients are the definition's": (
            "",
            {dtype: max(row["error"] for row in found[dtype]["all"]) for dtype in limits},
        ),
    }
    for claim, (said, errors) in claims.items():
        for dtype, error in errors.items():
            here = (f"error at most {rounded_up(error)} of each array's max-norm",)
            yield Finding(claim, dtype, said, here, HOLDS if error <= limits[dtype] else NOT)
