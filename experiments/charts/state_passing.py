"""Draws what `state_passing` found: how the loss rises with the position, for each cell and way."""

from pathlib import Path

import numpy as np

from experiments.charts.style import EPOCHWISE, FULL, OTHERS, OURS, plt, save
from experiments.claims.verdicts import paired

COLOURS = (FULL, OTHERS[0], EPOCHWISE, OTHERS[2], OURS)
NAMES = {"lru": "linear recurrent unit", "gru": "GRU"}
FIRST = 16  # position from which on losses are drawn


def draw(found: dict, path: Path) -> None:
    """Draws the report into a PNG file: a panel for each cell, means with 95 % t intervals."""
    cells = list(dict.fromkeys(row["cell"] for row in found["rows"]))
    size = 5.5 * len(cells), 4.4
    figure, axes = plt.subplots(1, len(cells), figsize=size, sharey=True, squeeze=False)
    piece, margin = found["task"]["piece"], found["margin"]
    lengths, near = np.array(found["lengths"]), found["near"]
    shown = lengths >= min(FIRST, near)
    for cell, axis in zip(cells, axes[0], strict=True):
        rows = [row for row in found["rows"] if row["cell"] == cell]
        for row, colour in zip(rows, COLOURS, strict=False):
            loss = np.array(row["loss"])
            rise = (loss - loss[:, lengths == near])[:, shown]
            estimates = [paired(column.tolist()) for column in rise.T]
            mean = np.array([estimate.mean for estimate in estimates])
            half = np.array([estimate.half_width for estimate in estimates])
            axis.plot(lengths[shown], mean, ".-", color=colour, label=row["name"])
            ends = mean - half, mean + half
            axis.fill_between(lengths[shown], *ends, color=colour, alpha=0.15, linewidth=0)
        axis.axvline(piece, color="0.6", linestyle=":", label=f"a piece's end, {piece}")
        axis.axhline(margin, color="0.6", linestyle="--", label=f"margin, {margin:g}")
        axis.set(title=NAMES[cell], xscale="log", xlabel="position n: characters n to 2n - 1")
    axes[0, 0].set_ylabel(f"loss - loss at {near} to {2 * near - 1}, nats per character")
    axes[0, -1].legend()
    figure.suptitle(
        f"Trained on pieces of {piece} characters, then read as one text: means, 95 % t intervals"
    )
    save(figure, path, found["rows"])
