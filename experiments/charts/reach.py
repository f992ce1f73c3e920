"""Draws what `reach` found: the share that each style has learnt of each delay."""

from pathlib import Path

import numpy as np

from experiments.charts.style import EPOCHWISE, FULL, OURS, plt, save

COLOURS = {"true": OURS, "epochwise": EPOCHWISE, "full": FULL}
WIDTH = 0.26  # of a bar; the delays are 1 apart


def draw(found: dict, path: Path) -> None:
    """Draws the report into a PNG file: a panel for each milestone, a dot for each seed."""
    milestones, delays = found["task"]["milestones"], found["delays"]
    size = 4.2 * len(milestones), 4.2
    figure, axes = plt.subplots(1, len(milestones), figsize=size, sharey=True, squeeze=False)
    for i, (axis, updates) in enumerate(zip(axes[0], milestones, strict=True)):
        for j, row in enumerate(found["rows"]):
            _bars(axis, np.array(row["share"])[:, :, i], row, j - 1)
        axis.set_xticks(range(len(delays)), [str(d) for d in delays])
        axis.set(xlabel="delay of the dependency in steps", title=f"after {updates} updates")
    axes[0, 0].set_ylabel(f"share learnt, mean of {found['num_seeds']} seeds")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.suptitle("Delays learnt by truncated and by full BPTT")
    save(figure, path, found["rows"])


def _bars(axis, shares, row, place):
    """One style's bar at each delay, shares [delays, seeds]."""
    label = f"{row['style']}, horizon {row['horizon']} ({row['over_full'][1]:.1f} × full's time)"
    at = np.arange(len(shares)) + place * WIDTH
    axis.bar(at, shares.mean(axis=1), 0.9 * WIDTH, color=COLOURS[row["style"]], label=label)
    dots = np.repeat(at, shares.shape[1])
    axis.plot(dots, shares.ravel(), ".", color="0.2", markersize=2)
