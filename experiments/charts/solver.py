"""Draws what `solver` found: forecasts, gradients and time against the horizon."""

from pathlib import Path

import numpy as np

from experiments.charts.style import ARTICLE, EPOCHWISE, FULL, OTHERS, OURS, plt, save

RANGE = {"alpha": 0.15, "linewidth": 0}


def draw(found: dict, path: Path) -> None:
    """Draws the report into a PNG file."""
    figure, axes = plt.subplots(2, 2, figsize=(11, 8))
    _draw_errors(found, axes[0, 0])
    _draw_valid(found, axes[0, 1])
    _draw_gradients(found, axes[1, 0])
    _draw_times(found, axes[1, 1])
    for axis in axes.flat[1:]:
        axis.set_xscale("log", base=2)
        axis.set_xticks(found["horizons"], [str(h) for h in found["horizons"]])
        axis.minorticks_off()
        axis.set_xlabel("horizon in steps")
    figure.suptitle("A corrected solver, learnt with gradients of each horizon")
    save(figure, path, [found["before"], found["rows"], found["seconds"]])


def _unrolled(found, steps):
    return [row for row in found["rows"] if row["unrolled"] == steps]


def _band(axis, x, values, colour, label, line="o-"):
    """Median and range of [seeds, x]."""
    low, middle, high = np.quantile(values, (0.0, 0.5, 1.0), axis=0)
    axis.plot(x, middle, line, color=colour, label=label)
    axis.fill_between(x, low, high, color=colour, **RANGE)


def _draw_errors(found, axis):
    task, growth = found["task"], found["before"]["growth"]
    colours = iter(plt.get_cmap("viridis")(np.linspace(0.0, 0.9, len(found["horizons"]))))
    others = iter((OTHERS[1], OTHERS[2], OURS))
    times = growth * task["step"] * (1 + np.arange(len(found["before"]["errors"][0])))
    alone = np.median(found["before"]["errors"], axis=0)
    axis.plot(times, alone, "--", color=ARTICLE, label="not corrected")
    for row in found["rows"]:
        is_long = row["unrolled"] == task["unrolled"]
        look = {"color": next(colours)} if is_long else {"color": next(others), "linestyle": ":"}
        label = f"horizon {row['name']}" if is_long else row["name"]
        axis.plot(times, np.median(row["errors"], axis=0), label=label, **look)
    axis.axvline(times[task["unrolled"] - 1], color="0.6", linewidth=1)
    axis.axhline(task["limit"], color="0.6", linewidth=1)
    place = {"xytext": (3, 3), "textcoords": "offset points", "color": "0.4", "fontsize": "small"}
    axis.annotate(f"{task['unrolled']} steps", (times[task["unrolled"] - 1], 0.006), **place)
    axis.annotate("valid below", (0.0, task["limit"]), **place)
    axis.set(yscale="log", ylim=(0.006, 2.0), xlabel="Lyapunov times", ylabel="relative error")
    axis.set_title(f"Errors of forecasts, medians of {found['num_seeds']} seeds")
    axis.legend(ncols=2)


def _draw_valid(found, axis):
    growth = found["before"]["growth"]
    (single,) = _unrolled(found, 1)
    unrolled = sorted({row["unrolled"] for row in found["rows"]} - {1})
    for steps, colour, line in zip(unrolled, (FULL, OURS), ("o:", "o-"), strict=True):
        rows = _unrolled(found, steps)
        horizons, valid = [row["horizon"] for row in rows], [row["valid"] for row in rows]
        _band(axis, horizons, growth * np.array(valid).T, colour, f"{steps} steps unrolled", line)
    for row, colour, line, label in (
        (single, OTHERS[1], "-.", "single steps"),
        (found["before"], ARTICLE, "--", "not corrected"),
    ):
        level = growth * np.median(row["valid"])
        axis.axhline(level, color=colour, linestyle=line, label=label)
    axis.set(ylabel="forecast valid, Lyapunov times", ylim=(0.0, None))
    axis.set_title(f"Forecasts, medians and ranges of {found['num_seeds']} seeds")
    axis.legend()


def _draw_gradients(found, axis):
    rows = {row["name"]: row for row in found["rows"]}
    full = str(found["horizons"][-1])
    for row, colour, name in (
        (found["before"], ARTICLE, "before learning"),
        (rows["1"], EPOCHWISE, "learnt with horizon 1"),
        (rows[full], FULL, f"learnt with horizon {full}"),
    ):
        norm = np.array(row["norm"])
        _band(axis, found["horizons"], norm / norm[:, -1:], colour, f"norm, {name}")
        bias = np.array(row["bias"])[:, :-1]  # that of the full gradient is none
        _band(axis, found["horizons"][:-1], bias, colour, f"bias, {name}", "s:")
    axis.set(yscale="log", ylabel="relative to the full gradient's norm")
    axis.set_title(f"Gradients, medians and ranges of {found['num_seeds']} seeds")
    axis.legend()


def _draw_times(found, axis):
    seconds = np.array(found["seconds"])  # [horizons, rounds]
    *horizons, full = found["horizons"]
    low, middle, high = np.quantile(seconds[:-1] / seconds[-1], (0.25, 0.5, 0.75), axis=1)
    axis.plot(horizons, middle, "o-", color=OURS, label="truncated")
    axis.fill_between(horizons, low, high, color=OURS, **RANGE)
    axis.plot(full, 1.0, "D", color=FULL, label=f"{full}: full, a scan without sweeps")
    axis.axhline(1.0, color="0.8", linewidth=1)
    axis.set(ylabel="time of an update, full gradient = 1", ylim=(0.0, None))
    axis.set_title(f"Times, medians and quartiles of {seconds.shape[1]} rounds, one seed")
    axis.legend()
