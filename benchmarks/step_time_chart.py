"""Draws what `step_time` measured: a bar for each peer and variant, a panel for each setting."""

from pathlib import Path

from benchmarks.agreement import style
from experiments.charts.style import EPOCHWISE, FULL, OURS, plt, save

PEERS = {
    "ours": ("tbptt_jax", OURS),
    "plain_jax": ("JAX", FULL),
    "pytorch": ("PyTorch", EPOCHWISE),
    "tensorflow_graphs": ("TensorFlow", "0.6"),
}
HOW = {  # what a variant is, by peer and variant
    ("ours", "full"): "lax.scan, our loss",
    ("ours", "true"): "truncated_scan, our loss",
    ("ours", "true-optax"): "truncated_scan, optax's loss",
    ("ours", "epochwise"): "truncated_scan, our loss",
    ("plain_jax", "full"): "lax.scan, optax's loss",
    ("plain_jax", "full-steps"): "lax.scan, optax's loss by steps",
    ("plain_jax", "true-windows"): "windows run again",
    ("plain_jax", "epochwise"): "a lax.scan for each piece",
    ("pytorch", "full"): "nn.RNN",
    ("pytorch", "full-fused"): "nn.RNN, fused loss",
    ("pytorch", "full-pieces"): "nn.RNN, loss by pieces",
    ("pytorch", "full-compiled"): "nn.RNN, compiled",
    ("pytorch", "true-windows"): "windows run again",
    ("pytorch", "true-windows-compiled"): "windows run again, compiled",
    ("pytorch", "true-graphs"): "graphs kept",
    ("pytorch", "true-graphs-compiled"): "graphs kept, compiled",
    ("tensorflow_graphs", "full"): "graph",
    ("tensorflow_graphs", "true"): "graph",
}
STYLES = ("full", "true", "epochwise")


def draw(report: dict, path: Path) -> None:
    """Draws the report of `step_time.measure`: a bar ends at the median, whiskers are quartiles."""
    settings = report["settings"]
    num_bars = max(len(setting["variants"]) for setting in settings.values())
    height = 1.8 + 0.31 * (num_bars + 1)
    figure, panels = plt.subplots(1, len(settings), figsize=(12, height), sharey=True)
    for panel, (name, setting) in zip(panels, settings.items(), strict=True):
        _panel(panel, name, setting)
    figure.suptitle("One step of the language model on a CPU: loss and gradients, float32")
    processor = f"{report['cpu']}, {report['threads']['ours']} threads"
    about = (
        "bars: median and quartiles of {rounds} rounds; in brackets: median over rounds of the "
        "ratio to the first bar of the same style"
    )
    figure.supxlabel(f"{processor}; {about.format(**report)}", fontsize=8, color="0.4")
    save(figure, path, report)


def _panel(axes, name, setting):
    rows = sorted(setting["variants"], key=lambda row: STYLES.index(style(row["variant"])))
    labels, place, places, before = [], 0.0, [], None
    for row in rows:
        place += 1.0 if before in (None, style(row["variant"])) else 1.5
        before = style(row["variant"])
        low, median, high = row["milliseconds"]
        whisker = [[median - low], [high - median]]
        peer, colour = PEERS[row["peer"]]
        axes.barh(place, median, color=colour, xerr=whisker, error_kw={"lw": 1, "capsize": 2})
        is_base = row["peer"] == "ours" and row["variant"] == before
        ratio = "" if is_base else f"  ({row['ratio'][1]:.2f}×)"
        axes.annotate(
            f"{median:.0f} ms{ratio}",
            (high, place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
        labels.append(f"{before}: {peer}, {HOW[row['peer'], row['variant']]}")
        places.append(place)
    axes.set_yticks(places, labels, fontsize=9)
    axes.set_ylim(place + 0.7, 0.3)
    axes.set_xlim(0.0, 1.3 * max(row["milliseconds"][2] for row in rows))
    axes.set_xlabel("milliseconds", fontsize=9)
    axes.set_title(
        "{0}: state {state}, embedding {embed},\n"
        "vocabulary {vocab:,}, batch {batch}, {steps} steps, horizon {horizon}".format(
            {"article": "Sizes of the article's timing", "table": "Sizes of its table"}[name],
            **setting,
        ),
        fontsize=9,
        loc="left",
    )
    axes.tick_params(axis="y", length=0)
