"""Draws what `gradcheck` found: the error at each horizon and stride."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np


def draw(found: dict, path: Path) -> None:
    """Draws the report of `gradcheck.main` into a PNG file."""
    dtypes = list(found["tolerances"])
    figure, axes = plt.subplots(1, len(dtypes), figsize=(11, 4.6), layout="constrained")
    images = []
    for axis, dtype in zip(axes, dtypes, strict=True):
        rows = found[dtype]["all"]
        size = max(row["horizon"] for row in rows)
        tolerance = found["tolerances"][dtype]
        grid = np.full((size, size), np.nan)
        for row in rows:
            grid[row["horizon"] - 1, row["stride"] - 1] = np.log10(row["error"] / tolerance + 1e-9)
            place = row["stride"], row["horizon"]
            look = {"ha": "center", "va": "center", "fontsize": "x-small", "color": "white"}
            axis.text(*place, f"{row['error']:.0e}", bbox={"color": "0.2", "pad": 1.5}, **look)
        ends = 0.5, size + 0.5
        extent = (*ends, *ends)
        image = axis.imshow(grid, vmin=-4, vmax=1, cmap="cividis", extent=extent, origin="lower")
        images.append(image)
        axis.set(xlabel="stride", ylabel="horizon", xticks=range(1, size + 1))
        axis.set_title(f"{dtype}: difference from the definition, must be ≤ {tolerance:g}")
        axis.spines[:].set_visible(False)
    figure.colorbar(images[0], ax=axes, label="log₁₀ of the error over what is allowed")
    figure.savefig(path, dpi=110)
    plt.close(figure)
