"""Draws the losses of a run over its epochs."""

from pathlib import Path
from typing import Any

from matplotlib.ticker import MaxNLocator

from experiments.charts.style import FULL, OURS, plt, save


def draw(epochs: list[dict[str, Any]], path: Path) -> None:
    """Draws the lines of metrics.jsonl that tell of an epoch into a PNG file, if there are any."""
    if not epochs:
        return
    numbers = [epoch["epoch"] for epoch in epochs]
    figure, axis = plt.subplots(figsize=(6.4, 4.2))
    for name, colour in (("train", FULL), ("valid", OURS)):
        losses = [epoch[f"{name}_loss"] for epoch in epochs]
        axis.plot(numbers, losses, "o-", color=colour, markersize=3, label=name)
    best = min(epochs, key=lambda epoch: epoch["valid_loss"])
    axis.axhline(best["valid_loss"], color="0.6", linewidth=1, zorder=0)
    axis.set(xlabel="epoch", ylabel="loss in nats per token")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_title(f"Best validation loss {best['valid_loss']:.3f}, in epoch {best['epoch']}")
    axis.legend()
    save(figure, path, epochs)
