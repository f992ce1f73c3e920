"""Verdicts on what the studies beyond the article's experiments ask."""

import math
import statistics
from collections.abc import Iterator

import numpy as np

from experiments.claims.numbers import Numbers
from experiments.claims.verdicts import (
    MORE_OFTEN,
    NOT,
    UNDECIDED,
    Finding,
    as_well,
    decide,
    threshold,
)

MARGIN = 0.02  # nats: losses within it are equally good


def dependencies(found: Numbers) -> Iterator[Finding]:
    """The share of the possible gain that is learnt at the longest delays that errors reach, and at
    the first that none reaches, at each milestone.

    Seeds are paired: at each, both styles start from the same parameters and see the same stream.
    """
    for horizon in (8, 16):
        within = range(horizon * 3 // 4, horizon)
        for delays, name, article in (
            (within, f"the delays {within[0]} to {within[-1]}", "concluded from the losses"),
            (range(horizon, horizon + 1), f"the delay {horizon}, which no error reaches,", ""),
        ):
            claim = f"true learns more of {name} than epochwise, horizon {horizon}"
            shares = [_shares(found, style, horizon, delays) for style in ("true", "epochwise")]
            milestones = found["task"]["milestones"]
            for updates, true, epochwise in zip(milestones, *shares, strict=True):
                gains = (true - epochwise).tolist()
                limit = 2.0 * statistics.stdev(gains) if len(gains) > 1 else math.inf
                gain = statistics.fmean(gains)
                said = (
                    f"{np.mean(true):z.0%} − {np.mean(epochwise):z.0%} of the possible gain",
                    f"difference {gain:+z.1%} ± {limit:.1%}",
                    f"paired seeds: {len(gains)}",
                )
                verdict = decide(gain, limit)
                yield Finding(claim, f"after {updates} updates", article, said, verdict)


def _shares(found, style, horizon, delays):
    """[milestones, seeds], the mean over the delays."""
    row = found.row("learnt", style=style, horizon=horizon)
    share = np.array(row["share"])  # [delays, seeds, milestones], delay 1 first
    return np.mean(share[delays.start - 1 : delays.stop - 1], axis=0).T


def williams_peng(delay: Numbers, ptb: Numbers) -> Iterator[Finding]:
    """Passes of 2h steps, once every h, beside one of h steps at every step."""
    claim, article = "BPTT(2h; h) does as well as BPTT(h)", "quoted from Williams and Peng"
    updates, trials = 1000, delay["num_seeds"]  # for so many updates the task was made
    milestone = delay["task"]["milestones"].index(updates)
    names = ("BPTT(h; 1)", "BPTT(2h; h)", "BPTT(h; h)")
    rows = [delay.row("rows", schedule=name) for name in names]
    single, double, _ = (row["intervals"][milestone] for row in rows)
    shares = [row["successes"][milestone] / trials for row in rows]
    said = (f"{name} {share:.1%}" for name, share in zip(names, shares, strict=True))
    yield Finding(
        claim,
        f"a delay of {delay['delay']}",
        article,
        (*said, f"of {trials} seeds succeed after {updates} updates"),
        MORE_OFTEN if double[0] > single[1] else NOT if double[1] < single[0] else UNDECIDED,
    )
    for h in sorted({row["h"] for row in ptb["rows"]}):
        losses = {n: ptb.row("rows", schedule=n, h=h)["best_valid_loss"] for n in names}
        means = {name: statistics.fmean(each) for name, each in losses.items()}
        spread = statistics.fmean(map(statistics.variance, losses.values())) ** 0.5
        difference = means["BPTT(2h; h)"] - means["BPTT(h; 1)"]
        limit = threshold(spread, len(losses[names[0]]))
        said = (f"{name} {means[name]:.3f}" for name in names)
        yield Finding(
            claim,
            f"Penn Treebank, h = {h}",
            article,
            (*said, f"beyond {limit:.3f} counts", f"seeds: {len(losses[names[0]])}"),
            as_well(difference, limit, MARGIN),
        )
