"""Draws the finished cells of the table: beside the article's, and their learning curves."""

import statistics
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from experiments.claims import cells

COLOURS = {5: "#56B4E9", 10: "#0072B2", 20: "#D55E00", 40: "#000000"}
LINES = {"true": "-", "epochwise": "--"}
MARKS = {"true": "o", "epochwise": "s"}


def draw(found: dict[cells.Cell, dict[str, Any]], folder: Path) -> None:
    """Draws table.png, table_curves.png and table_seeds.png."""
    for name, drawn in (
        ("table", _beside_article(found)),
        ("table_curves", _curves(found)),
        ("table_seeds", _seeds(found)),
    ):
        drawn.savefig(folder / f"{name}.png", dpi=110)
        plt.close(drawn)


def _beside_article(found):
    """Ours and the article's over the length of the sequence, from which updates follow."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.8), sharey=True, layout="constrained")
    for i, (rate, axis) in enumerate(zip(cells.RATES, axes, strict=True)):
        for plan in (*cells.SCHEDULES, *cells.CONTROLS):
            control = plan in cells.CONTROLS
            mark, colour = "^" if control else MARKS[plan.style], COLOURS[plan.horizon]
            place = plan.seq_len + {"true": -0.8, "epochwise": 0.8}[plan.style] * (1 - control)
            losses = [*cells.best(found, cells.Cell(plan, rate)).values()]
            axis.plot([place] * len(losses), losses, mark, color=colour, mfc="none", ms=7)
            if not control:
                said = cells.ARTICLE[plan.style, plan.horizon][i]
                axis.plot(place, said, "x", color=colour, ms=6)
        axis.set(title=f"rate {rate:g}", xlabel="sequence in steps (true left, epochwise right)")
        axis.set_xticks(sorted({plan.seq_len for plan in cells.SCHEDULES}))
        axis.set_xlim(2, 43)
        axis.grid(axis="y", alpha=0.3)
    for mark, label in (
        ("o", "true"),
        ("s", "epochwise, a block a sequence"),
        ("^", "epochwise, blocks in a sequence"),
        ("x", "the article"),
    ):
        axes[0].plot([], [], mark, color="0.3", mfc="none", label=label)
    for horizon, colour in COLOURS.items():
        axes[0].plot([], [], "-", color=colour, label=f"horizon {horizon}")
    axes[0].set_ylabel("best validation loss in nats a word")
    figure.legend(loc="outside lower center", ncols=8, frameon=False, fontsize="small")
    return figure


def _curves(found):
    """Validation loss over epochs, and over updates."""
    figure, axes = plt.subplots(2, 3, figsize=(13, 8), sharey=True, layout="constrained")
    for rate, column in zip(cells.RATES, axes.T, strict=True):
        for plan in cells.SCHEDULES:
            numbers = found.get(cells.Cell(plan, rate))
            if numbers is None:
                continue
            losses = numbers["valid_loss"]
            epochs = np.arange(1, len(losses) + 1)
            updates = epochs * cells.updates_per_epoch(numbers) / 1000
            look = {"color": COLOURS[plan.horizon], "ls": LINES[plan.style], "lw": 1.3}
            label = f"{plan.style} {plan.horizon} in {plan.seq_len}"
            column[0].plot(epochs, losses, label=label, **look)
            column[1].plot(updates, losses, **look)
        column[0].set(title=f"rate {rate:g}", xlabel="epoch", xticks=range(5, 21, 5))
        column[1].set(xlabel="thousand updates", xscale="log")
    axes[0, 0].set(ylim=(4.95, 5.6))
    if axes[0, 1].lines:
        axes[0, 1].legend(frameon=False, fontsize="small")
    for axis in axes[:, 0]:
        axis.set_ylabel("validation loss in nats a word")
    return figure


def _seeds(found):
    """True, epochwise, and epochwise with as many updates as true, with all seeds."""
    shape = {"figsize": (6.2 * len(cells.REPEATED_RATES), 4.4), "layout": "constrained"}
    figure, axes = plt.subplots(1, len(cells.REPEATED_RATES), squeeze=False, **shape)
    kinds = {"true": "o", "epochwise, as many updates": "^", "epochwise": "s"}
    ticks = [f"horizon {h}\n(true in {t})" for h, t in cells.PAIRS]
    for rate, axis in zip(cells.REPEATED_RATES, axes[0], strict=True):
        for group, (horizon, _) in enumerate(cells.PAIRS):
            plans = [
                next(p for p in cells.SCHEDULES if (p.style, p.horizon) == ("true", horizon)),
                next(p for p in cells.CONTROLS if p.horizon == horizon),
                next(p for p in cells.SCHEDULES if (p.style, p.horizon) == ("epochwise", horizon)),
            ]
            for i, (plan, mark) in enumerate(zip(plans, kinds.values(), strict=True)):
                losses = [*cells.best(found, cells.Cell(plan, rate)).values()]
                look = {"color": COLOURS[horizon], "ms": 5, "mfc": "none"}
                place = group + 0.2 * (i - 1)
                axis.plot([place] * len(losses), losses, mark, **look)
                if losses:
                    mean = statistics.fmean(losses)
                    axis.plot([place - 0.07, place + 0.07], [mean] * 2, color=COLOURS[horizon])
        axis.set_xticks(range(len(ticks)), ticks)
        axis.set_xlim(-0.5, len(ticks) - 0.5)
        axis.set_title(f"rate {rate:g}")
        axis.grid(axis="y", alpha=0.3)
    for name, mark in kinds.items():
        axes[0, 0].plot([], [], mark, color="0.3", mfc="none", label=name)
    axes[0, 0].set_ylabel("best validation loss, each seed and mean")
    axes[0, 0].legend(frameon=False, fontsize="small")
    return figure
