"""Draws what `state_passing` found: the loss by position, for each cell and way to join pieces."""

from pathlib import Path

import numpy as np

from experiments.charts.style import EPOCHWISE, FULL, OTHERS, OURS, plt, save
from experiments.claims.verdicts import paired

COLOURS = (FULL, OTHERS[0], OTHERS[1], EPOCHWISE, OTHERS[2], OURS)
NAMES = {"lru": "linear recurrent unit", "gru": "GRU"}
FIRST = 16  # position from which on differences are drawn


def draw(found: dict, path: Path) -> None:
    """Draws the report into a PNG file: a column for each cell.

    Above, how far the loss rises beyond that within a piece; below, the difference from models that
    carry their state across cut seams, at each position; means of the seeds with 95 % t intervals.
    """
    cells = list(dict.fromkeys(row["cell"] for row in found["rows"]))
    size = 5.2 * len(cells), 7.0
    figure, axes = plt.subplots(2, len(cells), figsize=size, sharex=True, sharey="row")
    lengths = np.array(found["lengths"])
    shown, near = lengths >= min(FIRST, found["near"]), list(lengths).index(found["near"])
    for cell, (rise, beside) in zip(cells, axes.reshape(2, -1).T, strict=True):
        rows = [row for row in found["rows"] if row["cell"] == cell]
        losses = {row["name"]: np.array(row["loss"]) for row in rows}
        for (name, loss), colour in zip(losses.items(), COLOURS, strict=False):
            for axis, other in ((rise, loss[:, near, None]), (beside, losses[found["beside"]])):
                of = [paired(column.tolist()) for column in (loss - other)[:, shown].T]
                middle = np.array([estimate.mean for estimate in of])
                axis.plot(lengths[shown], middle, ".-", color=colour, label=name)
                if of[0].freedom:
                    half = np.array([estimate.half for estimate in of])
                    ends = middle - half, middle + half
                    axis.fill_between(lengths[shown], *ends, color=colour, alpha=0.15, linewidth=0)
        for axis in (rise, beside):
            axis.axvline(found["task"]["piece"], color="0.6", linestyle=":")
        rise.axhline(found["margin"], color="0.6", linestyle="--")
        rise.set(title=NAMES[cell], xscale="log")
        beside.set(xlabel="position n: characters n to 2n - 1 after the start")
    axes = axes.reshape(2, -1)
    axes[0, 0].set_ylabel(f"loss - loss at {found['near']}, nats per character")
    axes[1, 0].set_ylabel(f"loss - loss with {found['beside']}")
    axes[0, 0].legend()
    figure.suptitle(f"Trained on pieces of {found['task']['piece']}, read as one text")
    save(figure, path)
