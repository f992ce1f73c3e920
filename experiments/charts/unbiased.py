"""Draws what `unbiased` found: the distance from the best parameter over the updates."""

from pathlib import Path

import numpy as np

from experiments.charts.style import plt, save

LIMITS = 1e-8, 1e8
STEPS = {"true": "horizon", "epochwise": "blocks of"}  # what the numbers of a style count


def draw(found: dict, path: Path) -> None:
    """Draws the report into a PNG file: medians and ranges of the seeds."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.2), sharey=True)
    panels = dict(zip(("true", "epochwise", "unbiased"), axes, strict=True))
    for row in found["rows"]:
        kind = row["name"].split(", ")[0]
        axis = panels.get(kind, panels["unbiased"])
        distance = np.array(row["distance"])
        updates = np.linspace(0, found["num_updates"], distance.shape[1] + 1)[1:]
        low, middle, high = np.quantile(distance, (0.0, 0.5, 1.0), axis=0)
        name = row["name"].removeprefix(f"{kind}, ")
        label = f"{STEPS[kind]} {name}" if kind in STEPS else name
        (line,) = axis.plot(updates, middle, label=f"{label} (gain {row['gain']:+.1f})")
        axis.fill_between(updates, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    for title, axis in panels.items():
        axis.axhline(1.0, color="0.6", linestyle="--", linewidth=1)
        axis.set(yscale="log", ylim=LIMITS, xlabel="updates", title=title)
        axis.legend()
    axes[0].set_ylabel("distance from the best parameter, start = 1")
    figure.suptitle(f"Influence balancing: median and range of {found['num_seeds']} seeds")
    save(figure, path, found["rows"])
