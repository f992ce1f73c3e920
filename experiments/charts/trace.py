"""Draws what `trace` found: right answers and the time of an update, by horizon."""

from pathlib import Path

import numpy as np

from experiments.charts.style import ARTICLE, FULL, OURS, plt, save


def draw(found: dict, path: Path) -> None:
    """Draws the report into a PNG file: a dot for each seed, lines for their medians."""
    *rows, trace = found["rows"]
    horizons = [row["horizon"] for row in rows]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4.2))
    last = np.array([np.array(row["accuracy"])[:, -1] for row in rows])
    left.plot(horizons, last, ".", color=FULL, markersize=4)
    left.plot(horizons, np.median(last, axis=1), color=FULL, label='tail="cut"')
    of_trace = np.median(np.array(trace["accuracy"])[:, -1])
    left.axhline(of_trace, color=OURS, label='tail="trace"')
    left.set(ylabel=f"right answers, median of {found['num_seeds']} seeds", ylim=(None, 1.02))
    left.set_title(f"after {found['num_updates']} updates")
    right.plot(horizons, [row["milliseconds"] for row in rows], "o-", color=FULL, markersize=4)
    right.axhline(trace["milliseconds"], color=OURS)
    right.set(yscale="log", ylabel="milliseconds", title="time of an update, all seeds at once")
    ticks = [0.125, 0.25, 0.5, 1, 2, 4]
    right.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    right.minorticks_off()
    for axis in (left, right):
        lag = found["task"]["lag"]
        label = f"errors reach the symbol {lag} steps ago"
        axis.axvline(lag + 1, color=ARTICLE, linestyle="--", linewidth=1, label=label)
        axis.set_xscale("log", base=2)
        axis.set_xticks(horizons, [str(horizon) for horizon in horizons])
        axis.set_xlabel("horizon in steps")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.suptitle("A copy task learnt online: the trace has no horizon")
    save(figure, path, found["rows"])
