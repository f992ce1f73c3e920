"""Draws what `vanishing` found: the gradient by lag, and its factor over the size of the state."""

from pathlib import Path

import numpy as np

from experiments.charts.style import ARTICLE, EPOCHWISE, FULL, plt, save

COLOURS = {"vanilla": "black", "gru": FULL, "lstm": EPOCHWISE}
NAMES = {"vanilla": "tanh RNN", "gru": "GRU", "lstm": "LSTM"}


def draw(found: dict, path: Path) -> None:
    """Draws the report into a PNG file."""
    states = sorted({row["state_size"] for row in found["rows"] if row["epochs"]})
    figure, axes = plt.subplots(2, max(2, len(states)), figsize=(11, 8))
    for state, axis in zip(states, axes[0], strict=False):
        rows = [row for row in found["rows"] if row["state_size"] == state]
        _by_lag(axis, rows, found["article_l1"] if state == states[0] else None)
        expected = [rows[0]["expected"] ** -k for k in range(len(found["article_l1"]))]
        axis.plot(expected, ":", color="0.5", label="√((E+N)/N) per step")
        axis.set(
            yscale="log",
            xlabel="lag in steps",
            ylabel="L1 norm over that of lag 0",
            xticks=range(0, 20, 3),
        )
        axis.set_title(f"State {state}")
        axis.legend()
    _over_states(axes[1, 0], [row for row in found["rows"] if not row["epochs"]])
    tanh = [r for r in found["rows"] if r["cell"] == "vanilla" and not r["epochs"]]
    _ratios(axes[1, 1], [r for r in tanh if r["state_size"] in states], found["article_l1"])
    figure.suptitle("The gradient by lag, and the factor by which it shrinks per step")
    save(figure, path, [found["article_l1"], found["rows"]])


def _by_lag(axis, rows, article):
    """Lines over the lag, each over its own lag 0; the median where there are seeds."""
    if article:
        axis.plot(np.divide(article, article[0]), "o", color=ARTICLE, ms=4, label="the article")
    for row in rows:
        median = np.median(row["l1"], axis=0)
        line = "--" if row["epochs"] else "-"
        when = f"after {row['epochs']} epochs" if row["epochs"] else "at initialisation"
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
        axis.errorbar(
            states,
            median,
            spread,
            fmt="o-" if cell == "vanilla" else "o",
            color=colour,
            capsize=2,
            label=NAMES[cell],
        )
    tanh = [row for row in rows if row["cell"] == "vanilla"]
    line = [row["state_size"] for row in tanh], [row["expected"] for row in tanh]
    axis.plot(*line, ":", color="0.5", label="√((E+N)/N), E: embedding, N: state")
    axis.set(xscale="log", xlabel="state size N")
    axis.set_xticks(line[0], map(str, line[0]), minor=False)
    axis.set_xticks([], minor=True)
    axis.set(ylabel="factor per step (range of seeds)")
    axis.set_title("Factor over all lags, at initialisation")
    axis.legend()


def _ratios(axis, rows, article):
    """The ratio of neighbouring lags, the article's and ours."""
    ratios = lambda norms: np.divide(norms[:-1], norms[1:])
    lags = np.arange(len(article) - 1)
    axis.plot(lags, ratios(article), "o", color=ARTICLE, label="the article, state 4")
    for row, line in zip(rows, ("-", "--"), strict=False):
        each = np.transpose([*map(ratios, row["l1"])])
        lines = axis.plot(lags, each, line, color=COLOURS["vanilla"], lw=0.8, alpha=0.5)
        lines[0].set_label(f"state {row['state_size']}, each seed")
    axis.set(
        xlabel="lag in steps",
        ylabel="norm over that of the next lag",
        ylim=(0, 10),
        xticks=range(0, 19, 3),
    )
    axis.set_title("Factor of each step, tanh RNN at initialisation")
    axis.legend()
