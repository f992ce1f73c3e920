"""Draws what `diagram` found: for each style, a row for each error and the steps it reaches."""

from pathlib import Path

import numpy as np

from experiments.charts.style import OURS, plt, save

MOST_WITH_ARROWS = 16  # steps
MOST_COUNTS = 3
NAMES = {"true": "true", "semi": "semi-epochwise", "epochwise": "epochwise"}


def draw(found: dict, path: Path) -> None:
    """Draws the report into an SVG or PNG file, by its name's ending."""
    plans = found["drawn"]
    size = 4.2 * len(plans), 4.6
    figure, axes = plt.subplots(1, len(plans), figsize=size, squeeze=False)
    for axis, plan in zip(axes[0], plans, strict=True):
        _panel(axis, plan)
    figure.suptitle("Which error reaches which step (darker: further back; dotted: end of a block)")
    save(figure, path, found["drawn"])


def _panel(axis, plan):
    """One style, steps counted from 1: darker the further back."""
    lag, num_steps = np.array(plan["lag"]), plan["seq_len"]
    ends = 0.5, num_steps + 0.5
    shown = np.ma.masked_less(lag, 0)
    low, high = -0.6 * plan["horizon"], 1.4 * plan["horizon"]
    axis.imshow(shown, cmap="Blues", vmin=low, vmax=high, extent=(*ends, *ends[::-1]))
    if num_steps <= MOST_WITH_ARROWS:
        for step, furthest in enumerate(lag.max(axis=1), start=1):
            line = {"arrowstyle": "->", "lw": 1.4, "shrinkA": 0, "shrinkB": 0}
            axis.annotate("", (step - furthest - 0.45, step), (step, step), arrowprops=line)
            axis.plot(step, step, "o", color=OURS, ms=6, zorder=3)
        steps = range(1, num_steps + 1)
        axis.set(xticks=steps, yticks=steps)
    if plan["stride"] > 1:
        for end in range(plan["stride"], num_steps, plan["stride"]):
            axis.axhline(end + 0.5, color="0.6", lw=0.8, ls=":")
    axis.set(xlabel="step that is reached", ylabel="step of the error")
    axis.set_title(f"{NAMES[plan['style']]}: horizon {plan['horizon']}, stride {plan['stride']}")
    if len(plan["reach"]) <= MOST_COUNTS:
        reach = "\n".join(
            f"{num} of {num_steps} reach {k} step{'s' * (int(k) != 1)}"
            for k, num in plan["reach"].items()
        )
        place = {"transform": axis.transAxes, "ha": "right", "va": "top", "fontsize": "small"}
        axis.text(0.98, 0.98, reach, **place)
    axis.spines[:].set_visible(False)
