"""Draws what `step_time` measured: a bar for each peer and variant, a panel for each setting."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.agreement import style

# Okabe and Ito's palette, told apart with any colour vision.
COLOURS = {
    "ours": "#D55E00",
    "plain_jax": "#0072B2",
    "pytorch": "#009E73",
    "tensorflow_graphs": "#999999",
}
NAMES = {
    "ours": "tbptt_jax",
    "plain_jax": "JAX",
    "pytorch": "PyTorch",
    "tensorflow_graphs": "TensorFlow",
}
VARIANTS = {
    "full-steps": "full, loss by steps",
    "true-windows": "true by windows",
    "true-graphs": "true by graphs",
}
STYLES = ("full", "true", "epochwise")


def draw(report: dict, path: Path) -> None:
    """Draws the report of `step_time.measure` into a PNG file.

    A bar ends at the median; its whisker spans the quartiles.
    """
    settings = report["settings"]
    num_bars = max(len(setting["variants"]) for setting in settings.values())
    height = 1.6 + 0.31 * (num_bars + 1)
    figure, panels = plt.subplots(1, len(settings), figsize=(11, height), layout="constrained")
    for panel, (name, setting) in zip(panels, settings.items(), strict=True):
        _panel(panel, name, setting)
    figure.suptitle("One step of the language model: loss and gradients, float32", fontsize=12)
    processor = f"{report['cpu']}, {report['threads']['ours']} threads"
    about = "median and quartiles of {rounds} rounds, in brackets the ratio to tbptt_jax"
    figure.supxlabel(f"{processor}; {about.format(**report)}", fontsize=8, color="#555555")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _panel(axes, name, setting):
    rows = sorted(setting["variants"], key=lambda row: STYLES.index(style(row["variant"])))
    labels, place, places, before = [], 0.0, [], None
    for row in rows:
        place += 1.0 if before in (None, style(row["variant"])) else 1.5
        before = style(row["variant"])
        low, median, high = row["milliseconds"]
        whisker = [[median - low], [high - median]]
        colour = COLOURS[row["peer"]]
        axes.barh(place, median, color=colour, xerr=whisker, error_kw={"lw": 1, "capsize": 2})
        ratio = "" if row["peer"] == "ours" else f"  ({row['ratio'][1]:.2f}×)"
        axes.annotate(
            f"{median:.0f} ms{ratio}",
            (high, place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
        labels.append(f"{NAMES[row['peer']]}, {VARIANTS.get(row['variant'], row['variant'])}")
        places.append(place)
    axes.set_yticks(places, labels, fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0.0, 1.3 * max(row["milliseconds"][2] for row in rows))
    axes.set_xlabel("milliseconds", fontsize=9)
    axes.set_title(
        "{0}: state {state}, embedding {embed}, vocabulary {vocab},\n"
        "batch {batch}, {steps} steps, horizon {horizon}".format(name, **setting),
        fontsize=9,
        loc="left",
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
