"""Draws what `dependency` found: a heat map of what is learnt for each style."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np


def draw(found: dict, path: Path) -> None:
    """Draws the report of `dependency.main` into a PNG file.

    A row is a horizon, a column a delay; the line marks the longest delay that a horizon reaches.
    """
    styles = list(dict.fromkeys(row["style"] for row in found["learnt"]))
    figure, axes = plt.subplots(len(styles), 1, figsize=(8, 6.4), sharex=True, layout="constrained")
    images = []
    for axis, style in zip(axes, styles, strict=True):
        rows = [row for row in found["learnt"] if row["style"] == style]
        shares = np.array([np.median(row["share"], axis=1) for row in rows])
        images.append(axis.imshow(shares, vmin=0.0, vmax=1.0, aspect="auto", cmap="viridis"))
        reach = [row["horizon"] - 1 for row in rows]
        axis.step(np.array(reach) - 0.5, np.arange(len(rows)), where="mid", color="white", lw=1.5)
        axis.set_yticks(range(len(rows)), [f"{row['horizon']}" for row in rows])
        axis.set(ylabel="horizon", title=style)
    delays = [1, 4, 8, 12, 16, 20, 24, 28, 32]
    axes[-1].set_xticks([d - 1 for d in delays], [str(d) for d in delays])
    axes[-1].set_xlabel("delay d: the next symbol depends on the one d steps back")
    figure.colorbar(images[0], ax=axes, label="share of the possible gain that is learnt")
    figure.savefig(path, dpi=120)
    plt.close(figure)
