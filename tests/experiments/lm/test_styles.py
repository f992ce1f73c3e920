"""From style flags to BPTT(horizon; stride) in sequences."""

import pytest

from experiments.lm.styles import Schedule, schedule
from experiments.record.errors import UserError


@pytest.mark.parametrize(
    "args, expected",
    [
        (("true", 5), (5, 1, 20)),
        (("true", 10), (10, 1, 30)),
        (("true", 20), (20, 1, 40)),
        (("true", None), (20, 1, 40)),
        (("true", 7), (7, 1, 14)),
        (("true", 7, None, 9), (7, 1, 9)),
        (("epochwise", 20), (20, 20, 20)),
        (("epochwise", 5, None, 20), (5, 5, 20)),
        (("semi", 20), (20, 10, 40)),
        (("semi", 20, 5, 60), (20, 5, 60)),
        (("semi", 3), (3, 2, 6)),
        (("full",), (40, 40, 40)),
        (("full", None, None, 30), (30, 30, 30)),
        (("true", 20, None, 5, "exact"), (20, 1, 5)),
        (("semi", 20, 5, 15, "exact"), (20, 5, 15)),
    ],
)
def test_style_resolves_to_horizon_stride_and_length(args, expected):
    assert schedule(*args) == Schedule(args[0], *expected)


@pytest.mark.parametrize(
    "args, named",
    [
        (("full", 20), "--bptt=20"),
        (("true", 20, 2), "--stride=2"),
        (("epochwise", 20, 20), "--stride=20"),
        (("full", None, 2), "--stride=2"),
        (("semi", 20, 20), "--stride=20"),
        (("semi", 20, 1), "--stride=1"),
        (("semi", 2), "--bptt=2"),
        (("true", 20, None, 10), "--seq_len=10"),
        (("full", None, None, 40, "exact"), "--style=full"),
        (("semi", 20, 3, 40, "exact"), "multiple of the stride, which 40 is not of 3"),
    ],
)
def test_contradiction_is_named(args, named):
    with pytest.raises(UserError) as error:
        schedule(*args)
    assert named in str(error.value) and "\n" not in str(error.value)
