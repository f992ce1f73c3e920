"""Draws what `brackets` found: closing brackets of the right kind, by distance and horizon."""

import itertools
from pathlib import Path

import numpy as np

from experiments.charts.style import EPOCHWISE, FULL, OTHERS, OURS, plt, save

COLOURS = (OTHERS[2], EPOCHWISE, OURS, FULL)
NAMES = {"vanilla": "tanh RNN", "gru": "GRU", "lstm": "LSTM"}


def draw(found: dict, path: Path) -> None:
    """Draws the report into a PNG file: a panel for each cell, medians and ranges of the seeds."""
    cells = list(dict.fromkeys(row["cell"] for row in found["rows"]))
    spans = [f"{a}–{b - 1}" for a, b in itertools.pairwise(found["edges"])]
    figure, axes = plt.subplots(1, len(cells), figsize=(12, 4), sharey=True, squeeze=False)
    for cell, axis in zip(cells, axes[0], strict=True):
        rows = [row for row in found["rows"] if row["cell"] == cell]
        for row, colour in zip(rows, COLOURS, strict=False):
            last = np.array(row["right"])[:, -1]
            label = f"horizon {row['horizon']}"
            axis.plot(spans, np.median(last, axis=0), "o-", color=colour, label=label)
            ends = np.min(last, axis=0), np.max(last, axis=0)
            axis.fill_between(spans, *ends, color=colour, alpha=0.15, linewidth=0)
        chance = 1.0 / found["task"]["kinds"]
        axis.axhline(chance, color="0.6", linestyle="--", label="chance")
        axis.set(title=NAMES[cell], xlabel="distance of the brackets in steps")
    axes[0, 0].set_ylabel("closing brackets of the right kind")
    axes[0, 0].legend()
    updates = found["task"]["milestones"][-1]
    figure.suptitle(f"Agreement of brackets, {updates:,} updates, {found['num_seeds']} seeds")
    save(figure, path, found["rows"])
