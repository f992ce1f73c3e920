"""Draws what `williams_peng` found: success rates on the delay, validation losses on the text."""

from pathlib import Path

from experiments.charts.style import EPOCHWISE, FULL, OTHERS, OURS, plt, save
from experiments.claims import numbers

COLOURS = {
    "BPTT(h; 1)": OURS,
    "BPTT(2h; h)": EPOCHWISE,
    "BPTT(h; h)": FULL,
    "BPTT(2h; 1)": OTHERS[1],
}


def draw(folder: Path, path: Path) -> None:
    """Draws the reports of both tasks, as far as they are there, into a PNG file."""
    panels = {"delay": _delay, "ptb": _ptb}
    files = {task: folder / f"williams_peng_{task}.json" for task in panels}
    found = {task: numbers.of_any_text(file) for task, file in files.items() if file.exists()}
    figure, axes = plt.subplots(1, len(found), figsize=(4.8 * len(found), 4.0), squeeze=False)
    for axis, (task, report) in zip(axes[0], found.items(), strict=True):
        panels[task](axis, report)
    figure.suptitle("BPTT(2h; h) compared with BPTT(h; 1) and BPTT(h; h)")
    save(figure, path, [report["rows"] for report in found.values()])


def _delay(axis, report):
    updates = report["task"]["milestones"]
    for i, row in enumerate(report["rows"]):
        rates = [count / report["num_seeds"] for count in row["successes"]]
        low, high = zip(*row["intervals"], strict=True)
        spread = [
            [rate - end for rate, end in zip(rates, low, strict=True)],
            [end - rate for rate, end in zip(rates, high, strict=True)],
        ]
        at = [n * 1.03 ** (i - 1) for n in updates]  # side by side
        colour = COLOURS[row["schedule"]]
        axis.errorbar(at, rates, spread, fmt="o-", color=colour, capsize=3, label=row["schedule"])
    axis.set(
        xscale="log",
        ylim=(-0.02, 1.02),
        xlabel="updates",
        ylabel="share of seeds that succeed (bars: 95 % interval)",
    )
    axis.set_xticks(updates, [str(n) for n in updates])
    axis.minorticks_off()
    axis.set_title(f"delay {report['delay']}, h = {report['task']['chunk']}")
    axis.legend()


def _ptb(axis, report):
    labels = []
    for i, row in enumerate(report["rows"]):
        losses, colour = row["best_valid_loss"], COLOURS[row["schedule"]]
        axis.plot([i] * len(losses), losses, "o", color=colour, mfc="none")
        axis.hlines(sum(losses) / len(losses), i - 0.25, i + 0.25, color=colour, linewidth=2)
        labels.append(f"BPTT({row['horizon']}; {row['stride']})")
    axis.set_xticks(range(len(labels)), labels, rotation=30)
    axis.set_ylabel("best validation loss in nats per word")
    axis.set_title(f"{report['corpus']}, {report['num_epochs']} epochs, each seed and mean")
