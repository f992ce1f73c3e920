"""Draws what `vanishing` found: the gradient by lag, and its factor over the size of the state."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

COLOURS = {"vanilla": "#000000", "gru": "#0072B2", "lstm": "#D55E00"}
NAMES = {"vanilla": "tanh RNN", "gru": "GRU", "lstm": "LSTM"}


def draw(found: dict, path: Path) -> None:
    """Draws the report of `vanishing.main` into a PNG file."""
    states = sorted({row["state_size"] for row in found["rows"] if row["epochs"]})
    figure, axes = plt.subplots(2, len(states) + 1, figsize=(13, 7.4), layout="constrained")
    for state, column in zip(states, axes.T, strict=False):
        rows = [row for row in found["rows"] if row["state_size"] == state]
        for axis, scale in zip(column, ("linear", "log"), strict=True):
            _by_lag(axis, rows, found["article_l1"] if state == states[0] else None)
            axis.set(yscale=scale, xlabel="lag in steps", ylabel="L1 norm over lag 0's")
            axis.set_title(f"state {state}, {scale}" + " (lines as below)" * (scale == "linear"))
    lags = range(len(found["article_l1"]))
    for state, axis in zip(states, axes[1], strict=False):
        expected = next(r["expected"] for r in found["rows"] if r["state_size"] == state)
        line = [expected**-k for k in lags]
        axis.plot(lags, line, ":", color="0.5", label="√((E+N)/N) a step")
    for axis in axes[1, :-1]:
        axis.legend(frameon=False, fontsize="small")
    _over_states(axes[0, -1], [row for row in found["rows"] if not row["epochs"]])
    tanh = [r for r in found["rows"] if r["cell"] == "vanilla" and not r["epochs"]]
    _ratios(axes[1, -1], [r for r in tanh if r["state_size"] in states], found["article_l1"])
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _by_lag(axis, rows, article):
    """Lines over the lag, each over its own lag 0; the median where there are seeds."""
    if article:
        axis.plot(np.divide(article, article[0]), "o", color="0.5", ms=4, label="the article")
    for row in rows:
        median = np.median(row["l1"], axis=0)
        line = "--" if row["epochs"] else "-"
        when = f"after {row['epochs']} epochs" if row["epochs"] else "at start"
        label = f"{NAMES[row['cell']]} {when}"
        axis.plot(median / median[0], line, color=COLOURS[row["cell"]], label=label)


def _over_states(axis, rows):
    """The factor over the size of the state."""
    for cell, colour in COLOURS.items():
        mine = [row for row in rows if row["cell"] == cell]
        states = [row["state_size"] for row in mine]
        factors = np.array([row["factor"] for row in mine])
        median = np.median(factors, axis=1)
        spread = median - factors.min(axis=1), factors.max(axis=1) - median
        axis.errorbar(states, median, spread, fmt="o-", color=colour, capsize=2, label=NAMES[cell])
    tanh = [row for row in rows if row["cell"] == "vanilla"]
    line = [row["state_size"] for row in tanh], [row["expected"] for row in tanh]
    axis.plot(*line, ":", color="0.5", label="√((E+N)/N)")
    axis.set(xscale="log", xlabel="state size N")
    axis.set_xticks(line[0], map(str, line[0]), minor=False)
    axis.set_xticks([], minor=True)
    axis.set(ylabel="factor a step (range of seeds)")
    axis.set_title("At initialisation")
    axis.legend(frameon=False, fontsize="small")


def _ratios(axis, rows, article):
    """The ratio of neighbouring lags, the article's and ours."""
    ratios = lambda norms: np.divide(norms[:-1], norms[1:])
    lags = np.arange(1, len(article))
    axis.plot(lags, ratios(article), "o", color="0.5", label="the article, state 4")
    for row, line in zip(rows, ("-", "--"), strict=False):
        each = np.transpose([*map(ratios, row["l1"])])
        lines = axis.plot(lags, each, line, color=COLOURS["vanilla"], lw=0.8, alpha=0.5)
        lines[0].set_label(f"state {row['state_size']}, each seed")
    axis.set(
        xlabel="lag in steps",
        ylabel="norm at the lag before over its own",
        ylim=(0, 10),
        xticks=range(1, 20, 3),
    )
    axis.set_title("Each step's factor, tanh RNN at start")
    axis.legend(frameon=False, fontsize="small")
