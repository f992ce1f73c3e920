"""Draws the differences between the table's schedules, beside the article's and the noise."""

from pathlib import Path

from experiments.charts.style import ARTICLE, FULL, OURS, plt, save
from experiments.claims.comparisons import CLAIMS, RATES, Comparison, name_of
from experiments.claims.verdicts import HOLDS, NO_VERDICT, REVERSED, UNDECIDED

COLOURS = {HOLDS: OURS, REVERSED: FULL, UNDECIDED: "0.6", NO_VERDICT: "0.3"}


def draw(rows: list[Comparison], path: Path) -> None:
    """A panel for each learning rate; the bar is the t interval of a difference."""
    kinds = sorted({(CLAIMS.index(row.claim), row.horizon) for row in rows})
    places, place, before = {}, 0.0, None
    for kind in kinds:
        place += 1.0 if before == kind[0] else 2.2
        places[kind], before = place, kind[0]
    rates = [rate for rate in RATES if any(row.learning_rate == rate for row in rows)]
    size = 3 + 2.6 * len(rates), 1.8 + 0.3 * place
    figure, axes = plt.subplots(
        1, len(rates), sharey=True, sharex=True, squeeze=False, figsize=size
    )
    for rate, axis in zip(rates, axes[0], strict=True):
        for row in [row for row in rows if row.learning_rate == rate]:
            y = places[CLAIMS.index(row.claim), row.horizon]
            half = row.estimate.half_width if row.estimate.df else 0.0
            colour = COLOURS[row.verdict]
            fill = "none" if row.verdict == NO_VERDICT else colour
            axis.errorbar(row.difference, y, xerr=half, fmt="o", color=colour, mfc=fill, ms=6)
            if row.article is not None:
                axis.plot(row.article, y, "D", color=ARTICLE, mfc="none", ms=6)
        axis.axvline(0.0, color="0.5", lw=0.8, zorder=1)
        axis.set_title(name_of(rate))
        axis.set_xlabel("loss difference, first − second,\nin nats per word")
    _name_claims(axes[0], places)
    axes[0, 0].set_yticks([*places.values()], [f"horizon {horizon}" for _, horizon in kinds])
    axes[0, 0].set_ylim(place + 0.6, 0.5)
    for verdict, colour in COLOURS.items():
        fill = "none" if verdict == NO_VERDICT else colour
        axes[0, 0].plot([], [], "o", color=colour, mfc=fill, label=f"here: {verdict}")
    axes[0, 0].plot([], [], "D", color=ARTICLE, mfc="none", label="the article")
    figure.suptitle(
        "Differences of the best validation loss with 95 % t intervals (left of 0: as claimed)"
    )
    figure.legend(loc="outside lower center", ncols=5)
    save(figure, path, [[*row, row.verdict] for row in rows])


def _name_claims(axes, places):
    """The claims as headings across all panels."""
    for claim in {kind[0] for kind in places}:
        top = min(place for kind, place in places.items() if kind[0] == claim)
        text = axes[-1].annotate(  # the last panel is drawn over the others
            CLAIMS[claim],
            (0.0, top - 0.95),
            xycoords=axes[0].get_yaxis_transform(),
            va="center",
            fontweight="bold",
            fontsize="small",
            annotation_clip=False,
            bbox={"color": "white", "pad": 1.0},
        )
        text.set_in_layout(False)
