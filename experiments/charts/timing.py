"""Draws what `timing` found: what the true style costs, in units of full BPTT."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def draw(found: dict, path: Path) -> None:
    """Draws the report of `timing.main` into a PNG file."""
    article = found["article_ms"]["true"] / found["article_ms"]["full"]
    bars = [("the article's true style", (article,) * 3, "0.6")]
    bars += [(row["name"], row["ratio"], "#0072B2") for row in found["rows"]]
    figure, axis = plt.subplots(figsize=(7.4, 2.8), layout="constrained")
    for place, (_, (low, median, high), colour) in enumerate(bars):
        axis.barh(place, median, xerr=[[median - low], [high - median]], color=colour, height=0.6)
        axis.text(high + 0.03, place, f"{median:.2f}", va="center")
    axis.axvline(1.0, color="0.3", linewidth=1)
    axis.set_yticks(range(len(bars)), [name for name, _, _ in bars])
    axis.set_xlim(right=1.1 * max(high for _, (_, _, high), _ in bars))  # with room for its label
    axis.set(xlabel="time for loss and gradients, over full BPTT's")
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
