"""Draws the differences between the table's cells, beside the article's and the seeds' spread."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from experiments.claims.comparisons import EQUAL_LENGTH, Comparison, name_of
from experiments.claims.verdicts import HOLDS, REVERSED, UNDECIDED

COLOURS = {HOLDS: "#0072B2", REVERSED: "#D55E00", UNDECIDED: "0.55"}


def draw(rows: list[Comparison], path: Path) -> None:
    """A line for each comparison; the band is what a difference has to exceed."""
    figure, axis = plt.subplots(figsize=(9, 1.6 + 0.24 * len(rows)), layout="constrained")
    labels, place, question = [], 0.0, None
    for row in rows:
        if row.question != question:
            place -= 1.6
            question = row.question
            axis.text(
                0.0,
                place + 0.75,
                question,
                transform=axis.get_yaxis_transform(),
                va="center",
                fontweight="bold",
                fontsize="small",
                bbox={"color": "white", "pad": 1.0},
            )
        axis.barh(place, 2 * row.limit, 0.4, -row.limit, color="0.88", zorder=0)
        axis.plot(row.difference, place, "o", color=COLOURS[row.verdict], ms=6)
        if row.article is not None:
            axis.plot(row.article, place, "D", color="0.3", mfc="none", ms=6)
        first, second = (f"{p.style} {p.horizon} in {p.seq_len}" for p in (row.first, row.second))
        if row.question == EQUAL_LENGTH:  # epochwise in one block
            first = f"full in {row.first.seq_len}"
        labels.append((place, f"{first} − {second}, {name_of(row.learning_rate)}"))
        place -= 1.0
    axis.plot([], [], color="0.88", lw=7, label="undecided within")
    axis.axvline(0.0, color="0.5", lw=0.8, zorder=1)
    axis.set_yticks([y for y, _ in labels], [text for _, text in labels], fontsize="small")
    axis.set_ylim(place, 0.0)
    axis.set_xlabel("difference of the best validation loss in nats (left: the first is better)")
    for verdict, colour in COLOURS.items():
        axis.plot([], [], "o", color=colour, label=f"here: {verdict}")
    axis.plot([], [], "D", color="0.3", mfc="none", label="the article")
    figure.legend(loc="outside upper center", ncols=5, frameon=False, fontsize="small")
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
