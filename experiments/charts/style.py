"""The look that all charts share: one style file, one palette, one way to save."""

import hashlib
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

plt.style.use(Path(__file__).with_name("charts.mplstyle"))

# Okabe and Ito's palette, told apart with any colour vision.
OURS = "#D55E00"  # what this library computes, and the true style
FULL = "#0072B2"  # full BPTT, and plain JAX
EPOCHWISE = "#009E73"
OTHERS = "#56B4E9", "#CC79A7", "#E69F00"
ARTICLE = "0.45"  # numbers from elsewhere


def save(figure: Figure, path: Path, numbers: Any) -> None:
    """Writes a figure as PNG or SVG, by the name's ending; the same picture is the same file.

    Args:
      figure: closed afterwards.
      path: the file; it says of which numbers it is.
      numbers: what is drawn, as JSON holds it.
    """
    undated = {"Date": None} if path.suffix == ".svg" else {}
    figure.savefig(path, metadata={"Description": f"numbers {digest(numbers)}"} | undated)
    plt.close(figure)


def digest(numbers: Any) -> str:
    """The same for what JSON holds in the same way."""
    return hashlib.sha256(json.dumps(numbers).encode()).hexdigest()
