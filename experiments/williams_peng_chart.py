"""Draws what `williams_peng` found: success rates on the delay, validation losses on the text."""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {"BPTT(h; 1)": "#0072B2", "BPTT(2h; h)": "#009E73", "BPTT(h; h)": "#D55E00"}


def draw(folder: Path, path: Path) -> None:
    """Draws the reports of both tasks, as far as they are there, into a PNG file."""
    panels = {"delay": _delay, "ptb": _ptb}
    files = {task: folder / f"williams_peng_{task}.json" for task in panels}
    found = {t: json.loads(f.read_text("utf-8")) for t, f in files.items() if f.exists()}
    figure, axes = plt.subplots(
        1, len(found), figsize=(4.8 * len(found), 3.8), layout="constrained", squeeze=False
    )
    for axis, (task, report) in zip(axes[0], found.items(), strict=True):
        panels[task](axis, report)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _delay(axis, report):
    for i, row in enumerate(report["rows"]):
        rate = row["successes"] / report["num_seeds"]
        low, high = row["interval"]
        colour = COLOURS[row["schedule"]]
        axis.bar(i, rate, 0.6, color=colour)
        axis.errorbar(i, rate, [[rate - low], [high - rate]], color="black", capsize=4)
    axis.set_xticks(range(len(report["rows"])), [row["schedule"] for row in report["rows"]])
    h = report["task"]["chunk"]
    axis.set(ylim=(0, 1), ylabel="seeds that succeed", title=f"delay {report['delay']}, h = {h}")


def _ptb(axis, report):
    horizons = sorted({row["h"] for row in report["rows"]})
    for i, (name, colour) in enumerate(COLOURS.items()):
        for j, h in enumerate(horizons):
            (row,) = (r for r in report["rows"] if r["h"] == h and r["schedule"] == name)
            losses = row["best_valid_loss"]
            x = j + 0.22 * (i - 1)
            axis.plot([x] * len(losses), losses, "o", color=colour, label="" if j else name)
            axis.hlines(sum(losses) / len(losses), x - 0.08, x + 0.08, color=colour)
    axis.set_xticks(range(len(horizons)), [f"h = {h}" for h in horizons])
    axis.set(ylabel="best validation loss, nats a word", title="Penn Treebank, every seed and mean")
    axis.legend(frameon=False)
