"""Draws what `cells` measured: true over full BPTT, by cell."""

from pathlib import Path

from experiments.charts.style import FULL, OURS, plt, save

PANELS = {"readout": "with a readout of 10,000 words", "alone": "the recurrence alone"}


def draw(report: dict, path: Path) -> None:
    """Draws the report into a PNG file: bars end at the median, whiskers are quartiles."""
    rows = report["rows"]
    figure, axes = plt.subplots(1, 2, figsize=(11, 0.36 * len(rows) + 1.6), sharey=True)
    for panel, (key, title) in zip(axes, PANELS.items(), strict=True):
        _panel(panel, rows, key)
        panel.set_title(title, loc="left")
    axes[0].set_yticks(range(len(rows)), [row["cell"] for row in rows])
    axes[0].invert_yaxis()
    axes[1].legend(loc="lower left", bbox_to_anchor=(0.62, 1.0), ncols=2, fontsize=8)
    figure.suptitle("Loss and gradients through cells as their libraries write them, float32")
    figure.supxlabel(_about(report), fontsize=8, color="0.4")
    save(figure, path)


def _panel(axes, rows, key):
    for place, row in enumerate(rows):
        low, median, high = row[key]["ratio"]
        whisker = [[median - low], [high - median]]
        axes.barh(place, median, color=OURS, xerr=whisker, error_kw={"lw": 1, "capsize": 2})
        axes.annotate(
            f"{median:.2f}",
            (high, place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            bbox={"color": "white", "pad": 0.5},
        )
        target = row["targets"][key]
        label = "target" if place == 0 else None
        axes.plot([target] * 2, [place - 0.4, place + 0.4], "k:", label=label)
    axes.axvline(1.0, color=FULL, label="full BPTT")
    axes.set_xlim(0.0, 1.15 * max(row[key]["ratio"][2] for row in rows))
    axes.set_xlabel("time, true over full")
    axes.tick_params(axis="y", length=0)


def _about(report):
    first, last = report["rows"][0], report["rows"][-1]
    sizes = "batch {batch}, {steps} steps, {inputs} inputs, state {state}, horizon {horizon}"
    return (
        f"{sizes.format(**first)}; the last row: {sizes.format(**last)}, with an embedding; "
        f"{report['num_cores']} CPU cores ({report['cpu']})"
    )
