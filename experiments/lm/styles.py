"""From the name of a style of truncation to its horizon, stride and sequence length."""

from typing import NamedTuple

from experiments.record.errors import UserError

AUTO = "auto"
STYLES = ("true", "semi", "epochwise", "full")
DEFAULT_HORIZON = 20
DEFAULT_FULL_LENGTH = 40
SHORTEST = 4  # horizon to choose from
# The sequence lengths that the reference article pairs with the horizons of its true style.
TRUE_LENGTHS = {5: 20, 10: 30, 20: 40}


class Schedule(NamedTuple):
    """How far back each error reaches: BPTT(horizon; stride) in sequences of `seq_len` steps."""

    style: str
    horizon: int
    stride: int
    seq_len: int

    def __str__(self):
        shortest = self.horizon - self.stride + 1
        steps = str(self.horizon) if self.stride == 1 else f"{shortest} to {self.horizon}"
        return (
            f"{self.style} BPTT({self.horizon}; {self.stride}): errors reach {steps} steps back, "
            f"in sequences of {self.seq_len}"
        )


def horizons(seq_len: int) -> tuple[int, ...]:
    """Those that `auto` chooses from: the sequence's length, and its halves down to `SHORTEST`."""
    found = [seq_len]
    while found[-1] // 2 >= SHORTEST:
        found.append(found[-1] // 2)
    return tuple(reversed(found))


def auto_schedule(
    style: str, stride: int | None = None, seq_len: int | None = None, seams: str = "cut"
) -> Schedule:
    """The longest of the schedules that `auto` chooses from.

    Args:
      style: `true` alone.
      stride: None alone.
      seq_len: steps of one update; by default 40.
      seams: `cut` alone, since the state of a stream has a size for each horizon.

    Raises:
      UserError: the arguments contradict each other.
    """
    if style != "true":
        raise UserError(f"--bptt={AUTO} goes with --style=true; --style={style} does not.")
    if seams != "cut":
        raise UserError(f"--bptt={AUTO} does not go with --seams={seams}.")
    seq_len = seq_len or DEFAULT_FULL_LENGTH
    if seq_len < 2 * SHORTEST:
        raise UserError(
            f"--bptt={AUTO} needs --seq_len={2 * SHORTEST} or more to choose from, got {seq_len}."
        )
    return schedule(style, seq_len, stride, seq_len)


def schedule(
    style: str,
    bptt: int | None = None,
    stride: int | None = None,
    seq_len: int | None = None,
    seams: str = "cut",
) -> Schedule:
    """Fills in what a style leaves open, and refuses what contradicts it.

    Args:
      style: one of `STYLES`.
      bptt: the horizon, in steps; `full` takes none.
      stride: losses per backward pass; for `semi` alone, by default half the horizon.
      seq_len: steps of one update; by default bptt for epochwise, the reference article's pairing
        for true, 40 for full, twice bptt otherwise.
      seams: whether errors are `cut` where a sequence begins, or `exact`; then a sequence may be
        shorter than the horizon, and is a multiple of the stride.

    Raises:
      UserError: the arguments contradict each other.
    """
    if stride is not None and style != "semi":
        raise UserError(f"--stride={stride} goes with --style=semi; --style={style} fixes it.")
    if style == "full":
        if bptt is not None:
            raise UserError(f"--style=full takes no --bptt={bptt}: its horizon is --seq_len.")
        if seams == "exact":
            raise UserError(
                "--style=full has no horizon beyond its sequence, so its seams cannot be exact; "
                "take another style with --seams=exact."
            )
        horizon = seq_len = seq_len or DEFAULT_FULL_LENGTH
        return Schedule(style, horizon, horizon, seq_len)
    horizon = bptt or DEFAULT_HORIZON
    if style == "true":
        stride, default_length = 1, TRUE_LENGTHS.get(horizon, 2 * horizon)
    elif style == "epochwise":
        stride, default_length = horizon, horizon
    else:
        stride, default_length = stride or max(2, horizon // 2), 2 * horizon
        if not 1 < stride < horizon:
            raise UserError(
                f"--style=semi needs 1 < --stride < --bptt, which --stride={stride} and "
                f"--bptt={horizon} are not; --style=true has stride 1, --style=epochwise bptt."
            )
    seq_len = seq_len or default_length
    if horizon > seq_len and seams == "cut":
        raise UserError(
            f"--bptt={horizon} is longer than --seq_len={seq_len}, so no error could reach that "
            "far; lengthen the sequence, or take --style=full or --seams=exact."
        )
    if seq_len % stride and seams == "exact":
        raise UserError(
            f"--seams=exact needs --seq_len to be a multiple of the stride, which {seq_len} is not "
            f"of {stride}."
        )
    return Schedule(style, horizon, stride, seq_len)
