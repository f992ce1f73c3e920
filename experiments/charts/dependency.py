"""Draws what `dependency` found: a heat map of what is learnt for each style."""

from pathlib import Path

import numpy as np

from experiments.charts.diagram import NAMES
from experiments.charts.style import plt, save


def draw(found: dict, path: Path) -> None:
    """Draws the report into a PNG file.

    A row is a horizon, a column a delay; the line marks the longest delay that errors reach.
    """
    styles = list(dict.fromkeys(row["style"] for row in found["learnt"]))
    milestones = found["task"]["milestones"]
    shown = sorted({len(milestones) // 3, len(milestones) - 1})
    figure, axes = plt.subplots(
        len(styles),
        len(shown),
        figsize=(11, 6.4),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    images = []
    for row_axes, style in zip(axes, styles, strict=True):
        rows = [row for row in found["learnt"] if row["style"] == style]
        for axis, milestone in zip(row_axes, shown, strict=True):
            shares = np.array([np.median(row["share"], axis=1)[:, milestone] for row in rows])
            images.append(axis.imshow(shares, vmin=0.0, vmax=1.0, aspect="auto", cmap="viridis"))
            reach = np.array([row["horizon"] - 1 for row in rows])  # in columns: delay 1 is the 0th
            edges = np.repeat(np.arange(len(rows) + 1) - 0.5, 2)[1:-1]
            label = "errors reach the delays left of this line"
            axis.plot(np.repeat(reach - 0.5, 2), edges, color="red", linewidth=1.5, label=label)
            axis.set_title(f"{NAMES[style]}, {milestones[milestone]} updates")
        row_axes[0].set_yticks(range(len(rows)), [str(row["horizon"]) for row in rows])
        row_axes[0].set_ylabel("horizon in steps")
    delays = [1, 4, 8, 12, 16, 20, 24, 28, 32]
    for axis in axes[-1]:
        axis.set_xticks([d - 1 for d in delays], [str(d) for d in delays])
        axis.set_xlabel("delay of the dependency in steps")
    axes[0, 0].legend(frameon=False, labelcolor="white", loc="upper right")
    label = f"share learnt, median of {found['num_seeds']} seeds"
    figure.colorbar(images[0], ax=axes, label=label)
    figure.suptitle("Share of the possible gain learnt, by horizon and delay of the dependency")
    save(figure, path, found["learnt"])
