"""Draws what `elementwise` measured: time against the horizon, by windows and by sweeps."""

from pathlib import Path

from matplotlib.ticker import FixedLocator, NullLocator

from experiments.charts.style import FULL, OURS, plt, save
from experiments.record.environment import machine

VARIANTS = {
    "full": ("full (lax.scan)", FULL, "-"),
    "windows": ("truncated_scan", OURS, "o-"),
    "sweeps": ("truncated_scan, not recognised: sweeps", OURS, "s--"),
}


def draw(report: dict, path: Path) -> None:
    """Draws the report into a PNG file."""
    figure, axes = plt.subplots(1, len(report["cells"]), figsize=(11, 3.8), sharey=True)
    for axis, (cell, cases) in zip(axes, report["cells"].items(), strict=True):
        horizons = [case["horizon"] for case in cases]
        for variant, (label, colour, line) in VARIANTS.items():
            ratios = [case[variant]["ratio"][1] for case in cases]
            axis.plot(horizons, ratios, line, color=colour, label=label)
        axis.set(title=cell, xlabel="horizon h in steps", xscale="log", yscale="log")
        axis.set_xticks(horizons, [str(horizon) for horizon in horizons], rotation=45)
        axis.minorticks_off()
    axes[0].set_ylabel("time, over full BPTT")
    axes[0].yaxis.set_major_locator(FixedLocator([0.5, 1, 2, 5, 10, 20, 50, 100]))
    axes[0].yaxis.set_major_formatter("{x:g}")
    axes[0].yaxis.set_minor_locator(NullLocator())
    axes[0].legend(loc="upper left")
    sizes = report["sizes"]
    shown = f"B {sizes['batch']}, T {sizes['steps']}, N {sizes['state']}"
    figure.suptitle(f"Gradient of elementwise carries, {shown}, float32, {machine(report)}")
    save(figure, path, report)
