"""Draws what `timing` found: what the true style costs, in units of full BPTT."""

from pathlib import Path

from experiments.charts.style import ARTICLE, FULL, OURS, plt, save
from experiments.record.environment import machine

NAMES = {
    "full": "full",
    "true, by sweeps": "true, truncated_scan",
    "true, by the definition": "true, one window per error",
}


def draw(found: dict, path: Path) -> None:
    """Draws the report into a PNG file."""
    article = found["article_ms"]["true"] / found["article_ms"]["full"]
    bars = [("true, the article's code", (article,) * 3, ARTICLE)]
    for row in found["rows"]:
        bars.append((NAMES[row["name"]], row["ratio"], FULL if row["name"] == "full" else OURS))
    figure, axis = plt.subplots(figsize=(7.4, 3.0))
    for place, (_, (low, median, high), colour) in enumerate(bars):
        axis.barh(place, median, xerr=[[median - low], [high - median]], color=colour, height=0.6)
        axis.text(high + 0.03, place, f"{median:.2f}", va="center")
    axis.axvline(1.0, color="0.3", linewidth=1)
    axis.set_yticks(range(len(bars)), [name for name, _, _ in bars])
    axis.set_xlim(right=1.1 * max(high for _, (_, _, high), _ in bars))  # with room for its label
    axis.set(xlabel="time for loss and gradients, in units of full BPTT; whiskers: quartiles")
    axis.set_title(f"Cost of true truncation, sizes of the article's timing, {machine(found)}")
    save(figure, path, [article, found["rows"]])
