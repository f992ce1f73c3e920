"""Draws what `temporal_credit` found: the loss at the end by horizon, for each task."""

from pathlib import Path

import numpy as np

from experiments.charts.style import FULL, OURS, plt, save

COLOURS = {"adam": FULL, "rmsprop": OURS}


def draw(found: dict, path: Path) -> None:
    """Draws the report into a PNG file: a dot for each seed, lines for their medians."""
    tasks = list(found["tasks"])
    horizons = list(dict.fromkeys(str(row["horizon"]) for row in found["rows"]))
    figure, axes = plt.subplots(1, len(tasks), figsize=(3.6 * len(tasks), 4.2), squeeze=False)
    for axis, task in zip(axes[0], tasks, strict=True):
        for optimizer, colour in COLOURS.items():
            rows = [r for r in found["rows"] if (r["task"], r["optimizer"]) == (task, optimizer)]
            last = np.array([row["last"] for row in rows])
            axis.plot(last, ".", color=colour, markersize=3)
            axis.plot(np.median(last, axis=1), color=colour, label=optimizer)
        axis.set_xticks(range(len(horizons)), horizons, rotation=45)
        axis.set(xlabel="horizon in steps", yscale="log", title=task)
    axes[0, 0].set_ylabel("loss at the end, in units of the targets' variance")
    axes[0, 0].legend()
    figure.suptitle(
        "Learnt online at every step, by horizon (frozen: an untrained cell): "
        f"{found['num_seeds']} seeds and their median"
    )
    save(figure, path, found["rows"])
