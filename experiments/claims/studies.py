"""Verdicts on the commands of experiments/studies. Their seeds are paired."""

from collections.abc import Iterator, Mapping

import numpy as np

from experiments.claims.numbers import Numbers
from experiments.claims.verdicts import (
    Estimate,
    Finding,
    adjusted_p,
    below,
    decide,
    interval_text,
    noise,
    paired,
)

RIGHT_MARGIN = 0.1  # share of kinds: within it a horizon is as good
FAR = 16, 31  # steps between brackets
VALID_MARGIN = 0.1  # Lyapunov times: forecasts that are valid within it are as good
NAMES = {
    **{"vanilla": "tanh RNN", "gru": "GRU", "lstm": "LSTM", "lru": "linear recurrent unit"},
    **{"adam": "Adam", "rmsprop": "RMSprop"},
}


def brackets(found: Numbers) -> Iterator[Finding]:
    """Whether short horizons get the kinds of distant brackets right as often as the longest."""
    bin_, shares = list(found["edges"]).index(FAR[0]), {}
    for row in found["rows"]:
        right = np.array(row["right"])[:, -1, bin_]
        shares.setdefault(row["cell"], {})[row["horizon"]] = right
    short = {
        (cell, horizon): (of[max(of)], of[horizon])
        for cell, of in shares.items()
        for horizon in of
        if horizon != max(of)
    }
    longest = max(row["horizon"] for row in found["rows"])
    for (cell, horizon), verdict, estimate, p in _below(short, RIGHT_MARGIN):
        full, mine = short[cell, horizon]
        yield Finding(
            f"horizon {horizon} gets brackets {FAR[0]} to {FAR[1]} steps apart right as often as "
            f"horizon {longest}, within {RIGHT_MARGIN:.0%}",
            NAMES[cell],
            "",
            (
                f"{np.mean(mine):.1%}, {np.mean(full):.1%}",
                f"short by {interval_text(estimate, p)}",
                f"paired seeds: {len(mine)}",
            ),
            verdict,
        )


def unbiased(found: Numbers) -> Iterator[Finding]:
    """Whether each gradient brings the parameter nearer; what must come is the gain's sign."""
    last = {row["name"]: np.array(row["distance"])[:, -1] for row in found["rows"]}
    logs = {name: np.log10(np.maximum(of, np.finfo("f4").eps)) for name, of in last.items()}
    estimates = {name: paired((-of).tolist()) for name, of in logs.items()}
    for row, p in zip(found["rows"], adjusted_p(estimates.values()), strict=True):
        name = row["name"]
        yield Finding(
            f"{name}: the parameter ends nearer to the best than it began",
            f"after {found['num_updates']:,} updates",
            "",
            (
                f"gain {row['gain']:+z.1f}",
                f"distance {np.median(last[name]):.0e} of the start's (median)",
                f"nearer in {np.sum(last[name] < 1.0)} of {len(last[name])} seeds",
            ),
            decide(estimates[name].mean, p),
        )


def temporal_credit(found: Numbers) -> Iterator[Finding]:
    """Whether horizon 1 does as well as no truncation, and whether the task needs teaching."""
    last = {
        (row["task"], row["optimizer"], row["horizon"]): np.array(row["last"])
        for row in found["rows"]
    }
    cells = dict.fromkeys((task, optimizer) for task, optimizer, _ in last)
    margin = found["margin"]
    for claim, horizon in (
        ("horizon 1 does as well as real-time recurrent learning", 1),
        ("an untrained cell does as well", "frozen"),
    ):
        pairs = {cell: (last[*cell, horizon], last[*cell, "full"]) for cell in cells}
        for (task, optimizer), verdict, estimate, p in _below(pairs, margin):
            mine, full = pairs[task, optimizer]
            yield Finding(
                f"{claim}, within {margin:g}",
                f"{task}, {NAMES[optimizer]}",
                "",
                (
                    f"{np.mean(mine):.3f}, {np.mean(full):.3f} of the variance",
                    f"difference {interval_text(estimate, p)}",
                    f"paired seeds: {len(mine)}",
                ),
                verdict,
            )


def state_passing(found: Numbers) -> Iterator[Finding]:
    """Whether models hold up on long text, and whether state or gradient makes them do so."""
    lengths, margin, beside = list(found["lengths"]), found["margin"], found["beside"]
    near, far = lengths.index(found["near"]), len(lengths) - 1
    losses = {(row["cell"], row["name"]): np.array(row["loss"]) for row in found["rows"]}
    at = {i: f"{lengths[i]:,} to {2 * lengths[i] - 1:,}" for i in (near, far)}
    rises = {key: (of[:, far], of[:, near]) for key, of in losses.items()}
    for (cell, name), verdict, estimate, p in _below(rises, margin):
        there, here = rises[cell, name]
        yield Finding(
            f"trained with {name}, it holds up: its loss at positions {at[far]} is at most "
            f"{margin:g} above that at {at[near]}",
            NAMES[cell],
            "",
            (
                f"{np.mean(there):.3f}, {np.mean(here):.3f} nats per character",
                f"rise {interval_text(estimate, p)}",
                f"paired seeds: {len(here)}",
            ),
            verdict,
        )
    others = {key: of[:, far] for key, of in losses.items() if key[1] != beside}
    carried = {key: losses[key[0], beside][:, far] for key in others}
    estimates = [paired((carried[key] - of).tolist()) for key, of in others.items()]
    each = zip(others.items(), estimates, adjusted_p(estimates), strict=True)
    for (key, of), estimate, p in each:
        yield Finding(
            f"{key[1]}: a lower loss at positions {at[far]} than {beside}",
            NAMES[key[0]],
            "",
            (
                f"{np.mean(of):.3f}, {np.mean(carried[key]):.3f} nats per character",
                f"lower by {interval_text(estimate, p)}",
                f"paired seeds: {len(of)}",
            ),
            decide(estimate.mean, p),
        )


def solver(found: Numbers) -> Iterator[Finding]:
    """Whether corrected solvers forecast longer, or as long, with more temporal gradient."""
    growth, longest = found["before"]["growth"], found["task"]["unrolled"]
    valid = {}
    for row in found["rows"]:
        valid.setdefault(row["unrolled"], {})[row["horizon"]] = growth * np.array(row["valid"])
    yield from _longer(valid)
    *shorter, full = valid[longest].values()
    pairs = {(h,): (full, mine) for h, mine in zip(valid[longest], shorter, strict=False)}
    for (horizon,), verdict, estimate, p in _below(pairs, VALID_MARGIN):
        yield Finding(
            f"a shorter horizon forecasts as long as the full gradient, within {VALID_MARGIN:g} "
            "Lyapunov times",
            f"{longest} steps, horizon {horizon}",
            "",
            (f"short by {interval_text(estimate, p)}", f"paired seeds: {len(full)}"),
            verdict,
        )


def ptb_lstm(found: Numbers) -> Iterator[Finding]:
    """Whether styles whose errors reach further end lower; their noise is pooled.

    All are one family.
    """
    rows = {row["style"]: row for row in found["rows"]}
    measures = {
        "validation, last epoch": lambda row: [epochs[-1] for epochs in row["epochs"]],
        "test, best epoch": lambda row: row["test"],
    }
    asked = {}
    for case, measure in measures.items():
        perplexity = {
            style: dict(zip(row["seeds"], measure(row), strict=True)) for style, row in rows.items()
        }
        pooled, beside = noise([*perplexity.values()]), perplexity.pop("epochwise")
        for style, mine in perplexity.items():
            both = [(mine[seed], beside[seed]) for seed in mine if seed in beside]
            asked[style, case] = both, pooled.of([first - second for first, second in both])
    estimates = [estimate for _, estimate in asked.values()]
    for key, p in zip(asked, adjusted_p(estimates), strict=True):
        (style, case), (both, estimate) = key, asked[key]
        means = np.mean(both, axis=0)
        yield Finding(
            f"{style} style, exact seams: a lower perplexity than epochwise style, cut seams",
            case,
            "",
            (
                f"perplexity {means[0]:.2f}, {means[1]:.2f}",
                f"difference {interval_text(estimate, p)}",
                f"paired seeds: {len(both)}",
            ),
            decide(-estimate.mean, p),
        )


def _longer(valid):
    """Whether the full gradient forecasts longer, and unrolled steps; one family."""
    claim = "the full gradient forecasts longer than a shorter horizon"
    asked = {
        f"{steps} steps, horizon {horizon}": (claim, of[steps], of[horizon])
        for steps, of in valid.items()
        for horizon in [*of][:-1]
    }
    claim = "steps unrolled without temporal gradients forecast longer than single steps"
    asked |= {f"{n} steps": (claim, of[1], valid[1][1]) for n, of in valid.items() if n > 1}
    estimates = [paired((first - second).tolist()) for _, first, second in asked.values()]
    for case, estimate, p in zip(asked, estimates, adjusted_p(estimates), strict=True):
        claim, first, second = asked[case]
        yield Finding(
            claim,
            case,
            "",
            (
                f"{np.mean(first):.2f}, {np.mean(second):.2f} Lyapunov times",
                f"difference {interval_text(estimate, p)}",
                f"paired seeds: {len(first)}",
            ),
            decide(estimate.mean, p),
        )


def _below(
    pairs: Mapping[tuple, tuple[np.ndarray, np.ndarray]], margin: float
) -> Iterator[tuple[tuple, str, Estimate, float]]:
    """For each pair: its name, whether first - second is below the margin, that, the p-value."""
    estimates = [paired((first - second).tolist()) for first, second in pairs.values()]
    for name, estimate, judged in zip(pairs, estimates, below(estimates, margin), strict=True):
        yield name, judged.verdict, estimate, judged.p
