"""The tables of docs/studies.md hold the numbers of results/."""

import json

import committed
import numpy as np
import pytest
from scipy import stats

PAGE = (committed.ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
CELLS = {"vanilla": "tanh RNN", "gru": "GRU", "lstm": "LSTM", "lru": "LRU"}
AFTER_16 = 15  # of the solver's errors, which begin with the first step's
STYLES = {
    "epochwise": "epochwise, BPTT(20; 20)",
    "semi": "semi-epochwise, BPTT(20; 10), exact seams",
    "true": "true, BPTT(20; 1), exact seams",
}


FORGETTING = {
    "true": "BPTT(8; 1)",
    "semi": "BPTT(8; 4)",
    "epochwise": "BPTT(8; 8)",
    "true, horizon 9": "BPTT(9; 1)",
    "semi, horizon 16": "BPTT(16; 8)",
    "input, horizon 9": "BPTT(8; 1), input weights 9",
    "recurrent, horizon 9": "BPTT(8; 1), recurrent weights 9",
    "input and bias frozen": "BPTT(8; 1), input and bias frozen",
}


def spread(values, digits):
    """Median (range)."""
    return "{:.{n}f} ({:.{n}f}-{:.{n}f})".format(
        np.median(values), np.min(values), np.max(values), n=digits
    )


def last(rows):
    """[seeds], of [seeds, records]."""
    return np.array(rows)[:, -1]


def adaptive(found):
    for row in found["rows"]:
        chosen = ", ".join(str(k[-1]) for k in row["k"]) if row["name"].startswith("δ") else ""
        yield row["name"], spread(last(row["perplexity"]), 3), f"{row['theirs']:.3f}", chosen


def brackets(found):
    for row in found["rows"]:
        right = last(row["right"])
        name = f"{CELLS[row['cell']]}, {row['horizon']}"
        yield name, spread(last(row["excess"]), 4), spread(right[:, 3], 3), spread(right[:, 4], 3)


def dependency(found):
    """The longest delay to which all are learnt, half the gain in the median; at three times."""
    of = {(row["style"], row["horizon"]): row["share"] for row in found["learnt"]}
    at = [found["task"]["milestones"].index(updates) for updates in (250, 2000, 8000)]
    for horizon in sorted({horizon for _, horizon in of}):
        learnt = [
            np.median(of[style, horizon], axis=1)[:, at] > 0.5
            for style in ("true", "semi", "epochwise")
        ]
        yield horizon, *(", ".join(map(str, np.argmin(each, axis=0))) for each in learnt)


def forgetting(found):
    rows = {row["name"]: row for row in found["rows"]}
    for name, label in FORGETTING.items():
        medians = np.median(rows[name]["share"], axis=0), np.median(rows[name]["input"], axis=0)
        each = (f"{share:.2f}, {signal:.2f}" for share, signal in zip(*medians, strict=True))
        yield label, *each
    assert rows.keys() == FORGETTING.keys()


def temporal_credit(found):
    rows = [row for row in found["rows"] if row["task"] == "delay 8"]
    of = {(row["optimizer"], row["horizon"]): row["last"] for row in rows}
    names = {"frozen": "untrained cell", "full": "real-time recurrent learning"}
    for horizon in ("frozen", 1, 2, 4, 8, 16, "full"):
        both = (spread(of[optimizer, horizon], 3) for optimizer in ("adam", "rmsprop"))
        yield names.get(horizon, horizon), *both


def trace(found):
    for row in found["rows"]:
        name = "trace" if row["tail"] == "trace" else f"cut, {row['horizon']}"
        low, middle, high = row["over_trace"]
        time = "1" if name == "trace" else f"{middle:.2f} ({low:.2f}-{high:.2f})"
        yield name, row["steps_run"], spread(last(row["accuracy"]), 3), time


def solver(found):
    growth = found["before"]["growth"]
    for row in found["rows"]:
        horizon = "full" if row["horizon"] == row["unrolled"] else row["horizon"]
        steps = row["unrolled"]
        name = "single steps" if steps == 1 else f"{steps} steps, {horizon}"
        valid, error = growth * np.array(row["valid"]), np.array(row["errors"])[:, AFTER_16]
        yield name, spread(valid, 2), f"{np.median(error):.3f}"


def state_passing(found):
    near, losses = list(found["lengths"]).index(found["near"]), {}
    for row in found["rows"]:
        losses[row["cell"], row["name"]] = np.array(row["loss"])
    for (cell, _), loss in losses.items():
        beside = losses[cell, found["beside"]]
        differences = [loss[:, -1] - loss[:, near], loss[:, -1] - beside[:, -1]]
        half = [stats.t.ppf(0.975, len(loss) - 1) * stats.sem(each) for each in differences]
        said = [f"{np.mean(x):+.4f} ± {h:.4f}" for x, h in zip(differences, half, strict=True)]
        said[1:] = ["–"] if loss is beside else said[1:]
        yield *(f"{np.mean(loss[:, i]):.3f}" for i in (0, near, -1)), *said


def ptb_lstm(found):
    for row in found["rows"]:
        each = [epochs[-1] for epochs in row["epochs"]], row["valid"], row["test"]
        one = len(row["seeds"]) == 1
        said = [f"{values[0]:.2f}" if one else spread(values, 2) for values in each]
        yield STYLES[row["style"]], len(row["seeds"]), *said


def unbiased(found):
    def power(value):
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{value:.0f}" if value == 0 or 10 <= value < 100 else f"{mantissa}e{int(exponent)}"

    for row in found["rows"]:
        ends = last(row["distance"])
        middle, low, high = map(power, (np.median(ends), np.min(ends), np.max(ends)))
        yield (f"{middle} ({low}-{high})",)


TABLES = [
    adaptive,
    brackets,
    dependency,
    forgetting,
    ptb_lstm,
    solver,
    state_passing,
    temporal_credit,
    trace,
    unbiased,
]


@pytest.mark.parametrize("table", TABLES)
def test_a_table_holds_the_medians_and_ranges_of_the_results(table):
    """Row by row, in their order; the page's may have more columns."""
    path = committed.RESULTS / f"{table.__name__}.json"
    rows = list(table(json.loads(path.read_text(encoding="utf-8"))))
    assert len(rows) > 1
    cells = [f"| {' | '.join(map(str, row)).rstrip()} |" for row in rows]
    lines = PAGE.splitlines()
    first = next(i for i, line in enumerate(lines) if cells[0] in line)
    for line, row in zip(lines[first : first + len(cells)], cells, strict=True):
        assert row in line
