"""Draws what `pitfalls` found: the recipe's error over the horizon, a line for each gain."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = ("#56B4E9", "#0072B2", "#D55E00", "#000000")


def draw(found: dict, path: Path) -> None:
    """Draws the report of `pitfalls.main` into a PNG file."""
    figure, axis = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    rows = found["relative_error"]
    for gain, colour in zip(sorted({row["gain"] for row in rows}), COLOURS, strict=True):
        mine = [row for row in rows if row["gain"] == gain and row["horizon"] > 2]
        horizons = [row["horizon"] for row in mine]
        median = [row["quartiles"][1] for row in mine]
        axis.plot(horizons, median, "o-", color=colour, label=f"recurrent gain {gain:g}")
    axis.axhline(1.0, color="0.6", linewidth=1, zorder=0)
    axis.text(20, 1.15, "as large as the gradient", color="0.4", ha="right")
    axis.set(yscale="log", xlabel="horizon (it is exact at 2)")
    axis.set_ylabel("relative error of the gradient, median of the seeds")
    axis.set_xticks([3, 5, 10, 15, 20])
    axis.legend(frameon=False)
    axis.set_title("Walking back through graphs whose gradients are never cleared")
    figure.savefig(path, dpi=120)
    plt.close(figure)
