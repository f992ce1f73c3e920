"""Draws what `forgetting` found: what is learnt and the input's signal, over the updates."""

from pathlib import Path

import numpy as np

from experiments.charts.style import EPOCHWISE, FULL, OTHERS, OURS, plt, save

LOOKS = {
    "true": ("BPTT(8; 1)", OURS, "-"),
    "semi": ("BPTT(8; 4)", OTHERS[2], "-"),
    "epochwise": ("BPTT(8; 8)", EPOCHWISE, "-"),
    "true, horizon 9": ("BPTT(9; 1)", FULL, "--"),
    "semi, horizon 16": ("BPTT(16; 8)", OTHERS[0], "--"),
    "input, horizon 9": ("BPTT(8; 1), input weights 9", FULL, "-"),
    "recurrent, horizon 9": ("BPTT(8; 1), recurrent weights 9", OTHERS[1], "-"),
    "input and bias frozen": ("BPTT(8; 1), input and bias frozen", "0.3", "-"),
}


def draw(found: dict, path: Path) -> None:
    """Draws the report into a PNG file: medians over the seeds, with their quartiles."""
    milestones = found["task"]["milestones"]
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2))
    for row in found["rows"]:
        label, colour, line = LOOKS[row["name"]]
        for axis, key in zip(axes, ("share", "input"), strict=True):
            low, middle, high = np.quantile(row[key], (0.25, 0.5, 0.75), axis=0)
            axis.plot(milestones, middle, line, marker="o", ms=3, color=colour, label=label)
            axis.fill_between(milestones, low, high, color=colour, alpha=0.12, linewidth=0)
    axes[0].set_ylabel("share learnt")
    axes[1].set_ylabel("input signal, root mean square")
    for axis in axes:
        axis.set_xscale("log")
        axis.set_xticks(milestones, [f"{updates:,}" for updates in milestones])
        axis.minorticks_off()
        axis.set_xlabel("updates")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    figure.suptitle(
        f"A delay of {found['delay']} steps: median and quartiles of {found['num_seeds']} seeds"
    )
    save(figure, path, found["rows"])
