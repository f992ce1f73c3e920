"""What the explorer says of a schedule is what `truncated_scan` does and the commands take."""

import functools
from collections import Counter

import javascript
import numpy as np
import pytest
from reach import reached

from experiments.lm.styles import schedule

SCHEDULES = [
    (49, 7, 1),
    (49, 7, 7),
    (49, 20, 7),
    (10, 4, 3),
    (10, 7, 4),
    (10, 6, 6),
    (10, 1, 1),
    (10, 10, 3),
    (10, 64, 5),
    (1, 1, 1),
]
STYLES = ["true", "epochwise", "semi-epochwise", "semi-epochwise", "semi-epochwise"]
STYLES += ["epochwise", "true", "full", "full", "full"]


@functools.cache
def said():
    """What the page says of every schedule."""
    return javascript.evaluate(
        """
        return given.schedules.map((of) => ({
          reaches: schedule.reaches(...of),
          histogram: schedule.histogram(...of),
          cost: schedule.cost(...of),
          style: schedule.style(...of),
          name: commands.literatureName(...of),
          call: commands.call(...of),
          command: commands.command(...of),
        }));
        """,
        schedules=SCHEDULES,
    )


each_schedule = pytest.mark.parametrize("which", range(len(SCHEDULES)), ids=map(str, SCHEDULES))


@each_schedule
def test_errors_reach_the_steps_that_the_gradient_reaches(which):
    T, horizon, stride = SCHEDULES[which]
    drawn = np.zeros((T, T), bool)
    for t, steps in enumerate(said()[which]["reaches"]):
        drawn[t, t - steps + 1 : t + 1] = True
    assert np.array_equal(drawn, reached(T, horizon, stride))


@each_schedule
def test_histogram_counts_the_errors(which):
    counts = Counter(reached(*SCHEDULES[which]).sum(axis=1).tolist())
    assert said()[which]["histogram"] == [list(pair) for pair in sorted(counts.items())]


@each_schedule
def test_cost_is_that_of_one_pass_for_each_block(which):
    """A pass walks the steps that the last error of its block reaches; full BPTT walks once."""
    T, horizon, stride = SCHEDULES[which]
    lasts = [T - 1] if horizon >= T else [min(t, T) - 1 for t in range(stride, T + stride, stride)]
    steps = reached(T, horizon, stride)[lasts].sum(axis=1).tolist()
    expected = {"passes": len(steps), "depth": max(steps), "work": sum(steps)}
    assert said()[which]["cost"] == expected


def test_the_articles_example_has_43_whole_windows_and_7_blocks():
    true, epochwise = said()[:2]
    assert true["histogram"] == [[k, 1] for k in range(1, 7)] + [[7, 43]]
    assert epochwise["histogram"] == [[k, 7] for k in range(1, 8)]
    assert (true["cost"]["passes"], epochwise["cost"]["passes"]) == (49, 7)


def test_styles_and_their_names():
    assert [of["style"] for of in said()] == STYLES
    names = [of["name"] for of in said()]
    assert names[:3] == ["BPTT(7; 1)", "BPTT(7; 7)", "BPTT(20; 7)"]
    assert names[-3:] == ["BPTT(∞)"] * 3


@each_schedule
def test_the_call_has_the_schedules_gradient(which):
    T, horizon, stride = SCHEDULES[which]
    scan = lambda step, carry, xs, *, horizon, stride=1: (horizon, stride)
    scope = {"truncated_scan": scan, "step": None, "carry": None, "xs": None}
    assert eval(said()[which]["call"], scope) == ((None, 1) if horizon >= T else (horizon, stride))


@each_schedule
def test_the_command_trains_with_the_schedule(which):
    T, horizon, stride = SCHEDULES[which]
    start, *flags = said()[which]["command"].split(" --")
    given = dict(flag.split("=") for flag in flags)
    style = given.pop("style")
    plan = schedule(style, **{name: int(value) for name, value in given.items()})
    assert start == "python -m experiments.ptb"
    assert plan.seq_len == T
    if horizon >= T:
        assert plan.horizon == T  # full: of no stride
    else:
        assert (plan.horizon, plan.stride) == (horizon, stride)


@pytest.mark.parametrize("delay, horizon, stride", [(3, 4, 1), (4, 4, 1), (3, 5, 4), (2, 5, 5)])
def test_share_of_errors_that_reach_a_delay(delay, horizon, stride):
    T = 4 * stride + 2 * horizon // stride * stride
    blocks = reached(T, horizon, stride)[-stride * 3 :]  # away from the start
    steps = np.arange(T)[-stride * 3 :]
    found = javascript.evaluate(
        "return schedule.shareReaching(...given.of)", of=[delay, horizon, stride]
    )
    assert found == np.mean(blocks[np.arange(len(steps)), steps - delay])


def test_an_address_holds_the_state_and_refuses_what_is_out_of_range():
    state, parsed, mended = javascript.evaluate(
        """
        const state = { ...address.firstState(), T: 12, h: 5, stride: 3, updates: 400 };
        return [
          state,
          address.parse(address.format(state)),
          address.consistent({ ...state, ...address.parse("#T=999&stride=60&error=40&h=x&q=1") }),
        ];
        """
    )
    assert parsed == state
    assert [mended[name] for name in ("T", "h", "stride", "error")] == [64, 5, 5, 40]
