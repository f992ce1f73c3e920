"""Draws the finished runs of the table: beside the article's, and their learning curves."""

import statistics
from pathlib import Path

import numpy as np

from experiments.charts.style import ARTICLE, EPOCHWISE, FULL, OTHERS, OURS, plt, save
from experiments.claims import cells, runs

HORIZONS = dict(zip((5, 10, 20, 40), (*OTHERS, "black"), strict=True))  # colours of curves


def draw(finished: runs.Runs, folder: Path) -> None:
    """Draws table.png and table_curves.png."""
    numbers = {cell.name: run.valid_loss for cell, run in finished.items()}
    save(_beside_article(finished), folder / "table.png", numbers)
    save(_curves(finished), folder / "table_curves.png", numbers)


def _beside_article(finished):
    """Each seed and the mean, beside the article's."""
    figure, axes = plt.subplots(1, len(cells.RATES), figsize=(13, 5), sharey=True)
    groups = {
        "true": (OURS, [plan for plan in cells.SCHEDULES if plan.style == "true"]),
        "epochwise": (FULL, [plan for plan in cells.SCHEDULES if plan.style == "epochwise"]),
        "epochwise, as many updates as true": (EPOCHWISE, cells.CONTROLS),
    }
    for i, (rate, axis) in enumerate(zip(cells.RATES, axes, strict=True)):
        place, ticks = 0.0, {}
        for colour, plans in groups.values():
            for plan in plans:
                ticks[place] = f"{plan.horizon}\n{plan.seq_len}"
                losses = [*runs.losses(finished, cells.Cell(plan, rate)).values()]
                axis.plot([place] * len(losses), losses, "o", color=colour, mfc="none", ms=6)
                if losses:
                    axis.hlines(statistics.fmean(losses), place - 0.3, place + 0.3, color=colour)
                if plan in cells.SCHEDULES:
                    said = cells.ARTICLE[plan.style, plan.horizon][i]
                    axis.plot(place, said, "x", color=ARTICLE, ms=7)
                place += 1.0
            place += 0.7
        axis.set_xticks([*ticks], [*ticks.values()])
        axis.set(title=f"rate {rate:g}", xlabel="horizon (above) and sequence (below), in steps")
        axis.grid(axis="y", alpha=0.3)
    for name, (colour, _) in groups.items():
        axes[0].plot([], [], "o-", color=colour, mfc="none", label=f"{name}: each seed, mean")
    axes[0].plot([], [], "x", color=ARTICLE, label="the article")
    axes[0].set_ylabel("best validation loss in nats per word")
    figure.suptitle("Best validation loss by style, horizon and rate, beside the article's")
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def _curves(finished):
    """Validation loss over epochs, and over updates."""
    figure, axes = plt.subplots(2, 3, figsize=(13, 8), sharey=True)
    for rate, column in zip(cells.RATES, axes.T, strict=True):
        for plan in cells.SCHEDULES:
            run = finished.get(cells.Cell(plan, rate))
            if run is None:
                continue
            epochs = np.arange(1, len(run.valid_loss) + 1)
            updates = epochs * run.updates_per_epoch / 1000
            line = "-" if plan.style == "true" else "--"
            look = {"color": HORIZONS.get(plan.horizon, "black"), "ls": line, "lw": 1.5}
            label = f"{plan.style}, horizon {plan.horizon}, sequence {plan.seq_len}"
            column[0].plot(epochs, run.valid_loss, label=label, **look)
            column[1].plot(updates, run.valid_loss, **look)
        column[0].set(title=f"rate {rate:g}", xlabel="epoch", xticks=range(5, 21, 5))
        column[1].set(xlabel="thousand updates", xscale="log")
        column[1].set_xticks([1, 10, 100], ["1", "10", "100"])
    axes[0, 0].set(ylim=(4.95, 5.6))
    if axes[0, 1].lines:
        axes[0, 1].legend()
    for axis in axes[:, 0]:
        axis.set_ylabel("validation loss in nats per word")
    figure.suptitle("Learning curves, seed 0 (losses above 5.6 are cut)")
    return figure
