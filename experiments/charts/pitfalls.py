"""Draws what `pitfalls` found: the recipe's error over the horizon, a line for each gain."""

from pathlib import Path

from experiments.charts.style import FULL, OTHERS, plt, save

COLOURS = (OTHERS[0], FULL, "black", OTHERS[1])


def draw(found: dict, path: Path) -> None:
    """Draws the report into a PNG file."""
    figure, axis = plt.subplots(figsize=(6.4, 4.2))
    rows = found["relative_error"]
    for gain, colour in zip(sorted({row["gain"] for row in rows}), COLOURS, strict=True):
        mine = [row for row in rows if row["gain"] == gain and row["horizon"] > 2]
        horizons = [row["horizon"] for row in mine]
        median = [row["quartiles"][1] for row in mine]
        axis.plot(horizons, median, "o-", color=colour, label=f"recurrent gain {gain:g}")
    axis.axhline(1.0, color="0.6", linewidth=1, zorder=0)
    axis.text(20, 1.15, "as large as the gradient", color="0.4", ha="right")
    axis.set(yscale="log", xlabel="horizon in steps (the recipe is exact at 2)")
    axis.set_ylabel(f"relative error of the gradient, median of {found['num_seeds']} seeds")
    axis.set_xticks([3, 5, 10, 15, 20])
    axis.legend()
    axis.set_title("Error of a recipe that never clears the gradients of detached states")
    save(figure, path, rows)
