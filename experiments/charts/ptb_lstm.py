"""Draws what `ptb_lstm` found: validation perplexity by epoch, for each style."""

from pathlib import Path

import numpy as np

from experiments.charts.diagram import NAMES
from experiments.charts.style import ARTICLE, EPOCHWISE, OTHERS, OURS, plt, save

COLOURS = {"epochwise": EPOCHWISE, "semi": OTHERS[1], "true": OURS}
HIGHEST = 1.15  # perplexity that is shown, over the lowest


def draw(found: dict, path: Path) -> None:
    """Draws the report into a PNG file: a line for each seed."""
    figure, axis = plt.subplots(figsize=(6.4, 4.2))
    for row in found["rows"]:
        label = f"{NAMES[row['style']]}, BPTT({row['horizon']}; {row['stride']})"
        for i, perplexities in enumerate(row["epochs"]):
            epochs = np.arange(1, len(perplexities) + 1)
            colour = COLOURS[row["style"]]
            axis.plot(epochs, perplexities, "o-", color=colour, markersize=3, label=label * (not i))
    lines = [line for row in found["rows"] for line in row["epochs"]]
    last, valid = max(map(len, lines)), found["tensorflow"]["valid"]
    axis.plot(last, valid, "D", color=ARTICLE, label=f"TensorFlow, epochwise, last epoch: {valid}")
    highest = HIGHEST * min(map(min, lines))
    axis.set(xlabel="epoch", ylabel="validation perplexity", ylim=(None, highest))
    axis.legend()
    axis.set_title(
        f"{found['corpus']}, two LSTM layers of 200, horizon 20 (above {highest:.0f} is cut)"
    )
    save(figure, path, [found["tensorflow"], found["rows"]])
