"""Draws what `cells` measured: true over full BPTT, by cell."""

from pathlib import Path

from experiments.charts.style import EPOCHWISE, FULL, OURS, plt, save

PANELS = {"readout": "with a readout of 10,000 words", "alone": "the recurrence alone"}
SIZES = "batch {batch}, {steps} steps, {inputs} inputs, state {state}, horizon {horizon}"


def draw(report: dict, path: Path) -> None:
    """Draws the report into a PNG file: bars end at the median, whiskers are quartiles."""
    rows = report["rows"]
    figure, axes = plt.subplots(1, 3, figsize=(13, 0.36 * len(rows) + 1.7), sharey=True)
    for panel, (key, title) in zip(axes, PANELS.items(), strict=False):
        _times(panel, rows, key)
        panel.set_title(title, loc="left")
    _memory(axes[2], rows)
    axes[0].set_yticks(range(len(rows)), _names(rows))
    axes[0].invert_yaxis()
    axes[0].legend(loc="lower right", fontsize=8)
    figure.suptitle("The gradient through cells as their libraries write them, float32")
    figure.supxlabel(_about(report), fontsize=8, color="0.4")
    save(figure, path, report)


def _times(axes, rows, key):
    for place, row in enumerate(rows):
        low, median, high = row[key]["ratio"]
        whisker = [[median - low], [high - median]]
        axes.barh(place, median, color=OURS, xerr=whisker, error_kw={"lw": 1, "capsize": 2})
        _annotate(axes, place, median, high)
        target = row["targets"][key]
        label = "target" if place == 0 else None
        axes.plot([target] * 2, [place - 0.4, place + 0.4], "k:", label=label)
    axes.axvline(1.0, color=FULL, label="full BPTT")
    axes.set_xlim(0.0, 1.2 * max(row[key]["ratio"][2] for row in rows))
    axes.set_xlabel("time, true over full")
    axes.tick_params(axis="y", length=0)


def _memory(axes, rows):
    for style, colour, shift in (("true", OURS, -0.2), ("epochwise", EPOCHWISE, 0.2)):
        for place, row in enumerate(rows):
            ratio = row["temporary_bytes"][style] / row["temporary_bytes"]["full"]
            label = style if place == 0 else None
            axes.barh(place + shift, ratio, height=0.4, color=colour, label=label)
            _annotate(axes, place + shift, ratio, ratio)
    axes.axvline(1.0, color=FULL)
    axes.set_xlim(0.0, 1.4)
    axes.set_xlabel("temporary memory, over full BPTT's")
    axes.set_title("the recurrence alone", loc="left")
    axes.legend(loc="lower right", fontsize=8)


def _annotate(axes, place, value, right):
    axes.annotate(
        f"{value:.2f}",
        (right, place),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        bbox={"color": "white", "pad": 0.5},
    )


def _names(rows):
    """The cells; the row of the article's timing is told by its batch."""
    batch = rows[0]["batch"]
    same = lambda row: row["batch"] == batch
    return [row["cell"] if same(row) else f"{row['cell']}, its timing" for row in rows]


def _about(report):
    first, last = report["rows"][0], report["rows"][-1]
    return (
        f"times: {SIZES.format(**first)}; the last row: {SIZES.format(**last)}, with an embedding\n"
        f"memory: {SIZES.format(**report['memory'])}; "
        f"{report['num_cores']} CPU cores ({report['cpu']})"
    )
