"""Draws what `adaptive` found: the test perplexity over the epochs, and beside the paper's."""

from pathlib import Path

import numpy as np

from experiments.charts.style import ARTICLE, OURS, plt, save


def draw(found: dict, path: Path) -> None:
    """Draws the report into a PNG file: medians and ranges of the seeds."""
    figure, (curves, ends) = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True)
    names = [row["name"] for row in found["rows"]]
    for name, row in zip(names, found["rows"], strict=True):
        low, middle, high = np.quantile(row["perplexity"], (0.0, 0.5, 1.0), axis=0)
        epochs = np.arange(1, len(middle) + 1)
        (line,) = curves.plot(epochs, middle, label=name)
        curves.fill_between(epochs, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    last = [np.array(row["perplexity"])[:, -1] for row in found["rows"]]
    ends.plot(names, [np.median(of) for of in last], "o", color=OURS, label="here, median")
    for name, of in zip(names, last, strict=True):
        label = "here, each seed" if name == names[0] else None
        ends.plot([name] * len(of), of, ".", color=OURS, markersize=3, label=label)
    theirs = [row["theirs"] for row in found["rows"]]
    ends.plot(names, theirs, "s", color=ARTICLE, label="Aicher, Foti and Fox")
    curves.set(xlabel=f"epochs of {found['task']['epoch']:,} steps", ylabel="test perplexity")
    curves.legend()
    ends.legend()
    memory, num_seeds = found["task"]["memory"], found["num_seeds"]
    figure.suptitle(f"Copy task, memory {memory}: median and range of {num_seeds} seeds")
    save(figure, path, found["rows"])
