"""Draws what `recurrence` measured: cost against length, horizon, stride and state; memory."""

from pathlib import Path

from matplotlib.ticker import FixedLocator, NullLocator

from experiments.charts.style import FULL, OURS, plt, save
from experiments.record.environment import machine

VARIANTS = {"full": ("full (lax.scan)", FULL), "truncated": ("truncated_scan", OURS)}


def draw(report: dict, path: Path) -> None:
    """Draws the report into a PNG file."""
    figure, axes = plt.subplots(2, 3, figsize=(11, 6.6))
    (length, horizon, stride), (state, shapes, memory) = axes
    _per_token(length, report["length"], "steps", "sequence length T in steps")
    _per_token(horizon, report["horizon"], "horizon", "horizon h in steps")
    _per_token(stride, report["stride"], "stride", "stride in steps")
    _ratios(state, report["state"], report["readout"])
    _targets(shapes, report["shapes"])
    _memory(memory, report["length"])
    figure.suptitle(f"Gradient of a recurrence alone, float32, {machine(report)}")
    save(figure, path, report)


def _per_token(axis, cases, name, label):
    """Microseconds for each of the T·B inputs."""
    values = [case[name] for case in cases]
    tokens = [case["steps"] * case["batch"] for case in cases]
    for variant, (name, colour) in VARIANTS.items():
        micros = [1e3 * c[variant]["milliseconds"] / n for c, n in zip(cases, tokens, strict=True)]
        axis.plot(values, micros, "o-", color=colour, label=name)
    _finish(axis, cases, values, label, "µs for each of the T·B inputs")


def _ratios(axis, without, with_readout):
    """True over full against the state's size: where true stops being free."""
    values = [case["state"] for case in without]
    ratio = lambda cases: [case["truncated"]["ratio"][1] for case in cases]
    axis.plot(values, ratio(without), "o-", color=OURS, label="no readout")
    label = f"readout of {with_readout[0]['vocab']:,} words"
    axis.plot(values, ratio(with_readout), "s--", color=OURS, label=label)
    axis.axhline(1.0, color=FULL, label="full")
    _finish(axis, without, values, "state size N", "time, true over full")


def _targets(axis, cases):
    """The twelve shapes: the ratio against what counting operations says."""
    for cell, marker in (("rnn", "o"), ("lstm", "s")):
        points = [case for case in cases if case["cell"] == cell]
        counted = [(case["horizon"] + 2) / 3 for case in points]
        ratios = [case["true"]["ratio"][1] for case in points]
        axis.plot(counted, ratios, marker, color=OURS, mfc="none", label=cell.upper())
    axis.axline(
        (2, 1), (20, 10), color="black", linestyle=":", label="target: half the counted operations"
    )
    axis.set(
        xscale="log",
        yscale="log",
        xlabel="operations, true over full",
        ylabel="time, true over full",
    )
    axis.set_ylim(bottom=min(0.6, *(case["true"]["ratio"][1] / 4 for case in cases)))  # the legend
    axis.set_title("twelve shapes")
    for ticks in (axis.xaxis, axis.yaxis):
        ticks.set_major_locator(FixedLocator([0.1, 0.2, 0.5, 1, 2, 3, 4, 6, 10, 20, 40]))
        ticks.set_major_formatter("{x:g}")
        ticks.set_minor_locator(NullLocator())
    axis.legend(loc="lower right")


def _memory(axis, cases):
    values = [case["steps"] for case in cases]
    for variant, (name, colour) in VARIANTS.items():
        axis.plot(values, [c[variant]["megabytes"] for c in cases], "o-", color=colour, label=name)
    _finish(axis, cases, values, "sequence length T in steps", "temporary memory in MB")
    axis.set_ylim(auto=True)
    axis.set_yscale("log", base=2)
    axis.yaxis.set_major_formatter("{x:.0f}")


def _finish(axis, cases, values, label, y_label):
    """Titles a panel with the sizes that all its cases share."""
    names = {"cell": "", "batch": "B ", "steps": "T ", "state": "N ", "horizon": "h "}
    shared = [
        f"{names[key]}{cases[0][key]}".replace("rnn", "RNN")
        for key in names
        if len({c[key] for c in cases}) == 1
    ]
    axis.set_title(", ".join(shared))
    axis.set_xscale("log", base=2)
    axis.set_xticks(values, [str(value) for value in values])
    axis.minorticks_off()
    axis.set(xlabel=label, ylabel=y_label)
    axis.set_ylim(bottom=0.0)
    axis.legend()
