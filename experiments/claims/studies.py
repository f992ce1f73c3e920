"""Verdicts on what the studies beyond the article's experiments ask."""

import math
import statistics
from collections.abc import Iterator

import numpy as np

from experiments.claims.verdicts import (
    MORE_OFTEN,
    NOT,
    UNDECIDED,
    Finding,
    as_well,
    decide,
    overall,
    threshold,
)

MARGIN = 0.02  # nats: losses within it are equally good


def dependencies(found) -> Iterator[Finding]:
    """The share of the possible gain that is learnt at the longest delays that errors reach, and at
    the first that none reaches.

    Seeds are paired: at each, both styles start from the same parameters and see the same stream.
    """
    for horizon in (8, 16):
        reached = range(horizon * 3 // 4, horizon)
        yield _learnt(
            found,
            horizon,
            reached,
            "true learns more of the dependencies near its horizon than epochwise: horizon "
            f"{horizon}, delays {reached[0]} to {reached[-1]}",
            "concluded from the losses",
        )
        yield _learnt(
            found,
            horizon,
            range(horizon, horizon + 1),
            "true learns more of the first dependency that no error reaches than epochwise: "
            f"horizon {horizon}, delay {horizon}",
            "not there",
        )


def _learnt(found, horizon, delays, claim, article):
    """Whether the true style learns more, at each milestone; the mean over the delays."""

    def shares(style):
        """[milestones, seeds]."""
        row = found.row("learnt", style=style, horizon=horizon)
        share = np.array(row["share"])  # [delays, seeds, milestones], delay 1 first
        return np.mean(share[delays.start - 1 : delays.stop - 1], axis=0).T

    said, made = [], []
    styles = shares("true"), shares("epochwise")
    for updates, true, epochwise in zip(found["task"]["milestones"], *styles, strict=True):
        gains = (true - epochwise).tolist()
        limit = 2.0 * statistics.stdev(gains) if len(gains) > 1 else math.inf
        made.append(decide(statistics.fmean(gains), limit))
        said.append(
            f"after {updates} updates {np.mean(true):z.0%} and {np.mean(epochwise):z.0%}, "
            f"{statistics.fmean(gains):+z.1%} ± {limit:.1%} ({made[-1]})"
        )
    here = f"{'; '.join(said)}; of the possible gain, {styles[0].shape[1]} seeds, paired"
    return Finding(claim, article, here, overall(made))


def williams_peng(delay, ptb) -> Iterator[Finding]:
    """Passes of 2h steps, once every h, beside one of h steps at every step."""
    updates, trials = 1000, delay["num_seeds"]  # for so many updates the task was made
    milestone = delay["task"]["milestones"].index(updates)
    names = ("BPTT(h; 1)", "BPTT(2h; h)", "BPTT(h; h)")
    rows = [delay.row("rows", schedule=name) for name in names]
    single, double, _ = (row["intervals"][milestone] for row in rows)
    shares = [row["successes"][milestone] / trials for row in rows]
    said = ", ".join(f"{name} {share:.1%}" for name, share in zip(names, shares, strict=True))
    yield Finding(
        f"BPTT(2h; h) succeeds as often as BPTT(h): a delay of {delay['delay']}",
        "quoted from Williams and Peng",
        f"{said} of {trials} seeds after {updates} updates",
        MORE_OFTEN if double[0] > single[1] else NOT if double[1] < single[0] else UNDECIDED,
    )
    for h in sorted({row["h"] for row in ptb["rows"]}):
        losses = {n: ptb.row("rows", schedule=n, h=h)["best_valid_loss"] for n in names}
        means = {name: statistics.fmean(each) for name, each in losses.items()}
        spread = statistics.fmean(map(statistics.variance, losses.values())) ** 0.5
        difference = means["BPTT(2h; h)"] - means["BPTT(h; 1)"]
        limit = threshold(spread, len(losses[names[0]]))
        said = ", ".join(f"{name} {means[name]:.3f}" for name in names)
        yield Finding(
            f"BPTT(2h; h) does as well as BPTT(h): Penn Treebank, h = {h}",
            "quoted from Williams and Peng",
            f"{said}; beyond {limit:.3f} counts, seeds: {len(losses[names[0]])}; within {MARGIN} "
            "is as well",
            as_well(difference, limit, MARGIN),
        )
