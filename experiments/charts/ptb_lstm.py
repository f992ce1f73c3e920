"""Draws what `ptb_lstm` found: validation perplexity by epoch, for each style."""

from pathlib import Path

import numpy as np

from experiments.charts.diagram import NAMES
from experiments.charts.style import ARTICLE, EPOCHWISE, OTHERS, OURS, plt, save

COLOURS = {"epochwise": EPOCHWISE, "semi": OTHERS[1], "true": OURS}


def draw(found: dict, path: Path) -> None:
    """Draws the report into a PNG file: a line for each seed."""
    figure, axis = plt.subplots(figsize=(6.4, 4.2))
    for row in found["rows"]:
        label = f"{NAMES[row['style']]}, BPTT({row['horizon']}; {row['stride']})"
        for i, perplexities in enumerate(row["epochs"]):
            epochs = np.arange(1, len(perplexities) + 1)
            colour = COLOURS[row["style"]]
            axis.plot(epochs, perplexities, "o-", color=colour, markersize=3, label=label * (not i))
    valid = found["tensorflow"]["valid"]
    axis.axhline(valid, color=ARTICLE, linestyle="--", label=f"TensorFlow, epochwise: {valid}")
    axis.set(xlabel="epoch", ylabel="validation perplexity", yscale="log")
    ticks = [100, 120, 150, 200, 300]
    axis.set_yticks(ticks, [str(tick) for tick in ticks])
    axis.minorticks_off()
    axis.legend()
    axis.set_title("Penn Treebank, two LSTM layers of 200, horizon 20")
    save(figure, path, [found["tensorflow"], found["rows"]])
