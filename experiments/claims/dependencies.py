"""Verdicts on delays: which are learnt, which are forgotten, and BPTT(2h; h) beside BPTT(h; 1)."""

import statistics
from collections.abc import Iterator

import numpy as np

from experiments.claims.numbers import Numbers
from experiments.claims.verdicts import (
    HOLDS,
    MARGIN,
    MORE_OFTEN,
    NOT,
    REVERSED,
    Finding,
    adjusted_p,
    below,
    decide,
    interval_text,
    noise,
    paired,
    within,
)
from experiments.tasks.delay import SUCCESS

KEEPS = {  # interventions of the study of forgetting
    "true": "nothing else",
    "input, horizon 9": "horizon 9 for the input weights",
    "recurrent, horizon 9": "horizon 9 for the recurrent weights",
    "input and bias frozen": "input weights and bias frozen",
}
WILLIAMS_PENG = "BPTT(h; 1)", "BPTT(2h; h)", "BPTT(h; h)"
DOES_AS_WELL, QUOTED = "BPTT(2h; h) does as well as BPTT(h)", "quoted from Williams and Peng"
GAIN_MARGIN = 0.1  # of the possible gain: within it a delay is learnt as well
SEEDS_MARGIN = 0.1  # share of the seeds: within it they succeed as often


def learnt(found: Numbers) -> Iterator[Finding]:
    """The share of the possible gain that is learnt at the longest delays that errors reach, and at
    the first whose input none reaches, at each milestone.

    Seeds are paired: at each, both styles start from the same parameters and see the same stream.
    All comparisons are one family.
    """
    asked = []
    for horizon in (8, 16):
        reached, cut = range(horizon * 3 // 4, horizon), range(horizon, horizon + 1)
        for delays, name, article in (
            (reached, f"the delays {reached[0]} to {reached[-1]}", "concluded from the losses"),
            (cut, f"the delay {horizon}, whose input no error reaches,", ""),
        ):
            claim = f"true learns more of {name} than epochwise, horizon {horizon}"
            shares = [_shares(found, style, horizon, delays) for style in ("true", "epochwise")]
            for updates, *both in zip(found["task"]["milestones"], *shares, strict=True):
                asked.append((claim, article, updates, *both))
    estimates = [paired((true - epochwise).tolist()) for *_, true, epochwise in asked]
    for each, estimate, p in zip(asked, estimates, adjusted_p(estimates), strict=True):
        claim, article, updates, true, epochwise = each
        said = (
            f"{np.mean(true):z.0%} − {np.mean(epochwise):z.0%} of the possible gain",
            f"difference {interval_text(estimate, p)}",
            f"paired seeds: {len(true)}",
        )
        yield Finding(claim, f"after {updates} updates", article, said, decide(estimate.mean, p))


def _shares(found, style, horizon, delays):
    """[milestones, seeds], the mean over the delays."""
    row = found.row("learnt", style=style, horizon=horizon)
    share = np.array(row["share"])  # [delays, seeds, milestones], delay 1 first
    return np.mean(share[delays.start - 1 : delays.stop - 1], axis=0).T


def forgetting(found: Numbers) -> Iterator[Finding]:
    """Whether a delay equal to the horizon is forgotten, and what keeps it. Seeds are paired."""
    updates = found["task"]["milestones"]
    share = {row["name"]: np.array(row["share"]) for row in found["rows"]}  # [seeds, milestones]
    span = f"after {updates[0]:,} and {updates[-1]:,} updates"
    lost = {name: share[name][:, 0] - share[name][:, -1] for name in ("true", "semi", "epochwise")}
    estimates = {name: paired(each.tolist()) for name, each in lost.items()}
    for (name, estimate), p in zip(estimates.items(), adjusted_p(estimates.values()), strict=True):
        first, last = np.mean(share[name], axis=0)[[0, -1]]
        said = f"{first:z.0%}, {last:z.0%} of the possible gain", span
        here = (
            *said,
            f"difference {interval_text(estimate, p)}",
            f"paired seeds: {len(lost[name])}",
        )
        claim = f"a delay of {found['delay']}, equal to the horizon, is forgotten"
        yield Finding(claim, f"{name} style", "", here, decide(estimate.mean, p))
    short = {name: share["true, horizon 9"][:, -1] - share[name][:, -1] for name in KEEPS}
    estimates = {name: paired(each.tolist()) for name, each in short.items()}
    judged = below(estimates.values(), GAIN_MARGIN)
    for (name, estimate), (verdict, p) in zip(estimates.items(), judged, strict=True):
        here = (
            f"{np.mean(share[name][:, -1]):z.0%} after {updates[-1]:,} updates",
            f"short of BPTT(9; 1) by {interval_text(estimate, p)}",
        )
        claim = f"BPTT(8; 1) learns it to within {GAIN_MARGIN:.0%} of BPTT(9; 1) with ..."
        yield Finding(claim, KEEPS[name], "", here, verdict)


def williams_peng(delay: Numbers, ptb: Numbers) -> Iterator[Finding]:
    """Passes of 2h steps, once every h, beside one of h steps at every step.

    On the delay a difference is asked for, on text equivalence; both lengths are one family.
    """
    yield from _williams_peng_on_the_delay(delay)
    yield from _williams_peng_on_text(ptb)


def _williams_peng_on_the_delay(delay):
    updates = 1000  # for so many updates the task was made
    milestone = delay["task"]["milestones"].index(updates)
    names = WILLIAMS_PENG
    succeed = {
        name: np.array(delay.row("rows", schedule=name)["share"])[:, milestone] >= SUCCESS
        for name in (*names, "BPTT(2h; 1)")
    }
    case = f"a delay of {delay['delay']}"
    minus = lambda name, other: paired((1.0 * succeed[name] - succeed[other]).tolist())
    more, deeper = minus(names[1], names[0]), minus(names[1], "BPTT(2h; 1)")
    said = [f"{name} {np.mean(seeds):.1%}" for name, seeds in succeed.items()]
    trials = f"of {len(succeed[names[0]])} seeds succeed after {updates} updates"
    verdict = decide(more.mean, more.p_none)
    yield Finding(
        DOES_AS_WELL,
        case,
        QUOTED,
        (*said[:3], trials, f"difference {interval_text(more, more.p_none)}"),
        {HOLDS: MORE_OFTEN, REVERSED: NOT}.get(verdict, verdict),
    )
    ((verdict, p),) = within([deeper], SEEDS_MARGIN)
    yield Finding(
        f"BPTT(2h; h) succeeds as often as BPTT(2h; 1), within {SEEDS_MARGIN:.0%} of the seeds",
        case,
        "",
        (said[1], said[3], trials, f"difference {interval_text(deeper, p)}"),
        verdict,
    )


def _williams_peng_on_text(ptb):
    names = WILLIAMS_PENG
    lengths, estimates = sorted({row["h"] for row in ptb["rows"]}), []
    losses = {
        h: {name: ptb.row("rows", schedule=name, h=h)["best_valid_loss"] for name in names}
        for h in lengths
    }
    for of in losses.values():
        single, double = of["BPTT(h; 1)"], of["BPTT(2h; h)"]
        differences = [x - y for x, y in zip(double, single, strict=True)]
        estimates.append(noise([dict(enumerate(each)) for each in of.values()]).of(differences))
    judged = within(estimates, MARGIN)
    for h, estimate, (verdict, p) in zip(lengths, estimates, judged, strict=True):
        yield Finding(
            DOES_AS_WELL,
            f"Penn Treebank, h = {h}",
            QUOTED,
            (
                *(f"{name} {statistics.fmean(each):.3f}" for name, each in losses[h].items()),
                f"difference {interval_text(estimate, p)} of {MARGIN:g} or more",
                f"seeds: {len(losses[h][names[0]])}",
            ),
            verdict,
        )
