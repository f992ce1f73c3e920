"""The cells of the article's table, their controls, and further cells: what is trained."""

from typing import Any, NamedTuple

from experiments.lm.models import ARTICLE_SIZES
from experiments.lm.settings import Settings
from experiments.lm.styles import Schedule, schedule

NUM_SEEDS = 3
RATES = (0.003, 0.001, 0.0003)
MIDDLE_RATE = 0.001
NUM_EPOCHS = 20
PAIRS = ((5, 20), (10, 30), (20, 40))  # horizon and sequence length of the true style
SCHEDULES = [schedule("true", h, seq_len=t) for h, t in PAIRS]
SCHEDULES += [schedule("epochwise", h) for h in (5, 10, 20, 40)]
# Epochwise inside the true style's sequences: as many updates as the true style.
CONTROLS = [schedule("epochwise", h, seq_len=t) for h, t in PAIRS]
FULL = [schedule("full", seq_len=30)]  # that in 40 steps is the article's epochwise 40
# What all cells have in common, and the article's; the corpus is the Penn Treebank.
SHARED: dict[str, Any] = {
    "batch_size": 32,
    "keep_prob": 0.8,
    "backward": "sweeps",
}
# Best validation losses of the article, at its three rates.
ARTICLE = {
    ("true", 5): (5.12, 5.01, 5.09),
    ("epochwise", 5): (5.21, 5.04, 5.04),
    ("true", 10): (5.07, 5.00, 5.12),
    ("epochwise", 10): (5.15, 5.03, 5.05),
    ("true", 20): (5.05, 5.00, 5.15),
    ("epochwise", 20): (5.11, 4.99, 5.08),
    ("epochwise", 40): (5.05, 4.99, 5.15),
}


class Cell(NamedTuple):
    """One run: what it differs in from the others."""

    schedule: Schedule
    learning_rate: float = MIDDLE_RATE
    seed: int = 0
    cell: str = "vanilla"
    carry: str = "dropped"  # as the article carries its state on
    seams: str = "cut"
    epsilon: float | None = None  # Adam's

    @property
    def name(self) -> str:
        """Of its files."""
        plan = self.schedule
        where = f"{plan.style}-{plan.horizon}-in-{plan.seq_len}"
        words = [where, f"rate-{self.learning_rate:g}-seed-{self.seed}"]
        for name in self.differences:
            value = getattr(self, name)
            words.append(value if isinstance(value, str) else f"{name}-{value:.2g}")
        return "-".join(words)

    @property
    def differences(self) -> list[str]:
        """The fields, but for schedule, rate and seed, that are not the article's."""
        usual = Cell(self.schedule)
        return [name for name in Cell._fields[3:] if getattr(self, name) != getattr(usual, name)]

    @property
    def config(self) -> dict[str, Any]:
        """What its file must say."""
        shared = {"num_epochs": NUM_EPOCHS} | SHARED | ARTICLE_SIZES
        return self.schedule._asdict() | shared | dict(_own(self))

    def settings(self) -> Settings:
        """How it is trained; the cell apart, which is the model's."""
        how = {name: value for name, value in _own(self) if name != "cell"}
        return Settings(self.schedule, num_epochs=NUM_EPOCHS, **SHARED, **how)


def _own(cell):
    """Its fields but for the schedule and what is left to optax."""
    fields = [(name, getattr(cell, name)) for name in Cell._fields if name != "schedule"]
    return [(name, value) for name, value in fields if value is not None]


HORIZON_20 = [schedule("true", 20, seq_len=40), schedule("epochwise", 20), CONTROLS[-1]]
# Further questions, at seed 0: semi-epochwise; the state carried on clean, then with exact seams,
# and where dropout meets it most often; Adam's epsilon at the scale of the article's gradients,
# which are divided by the horizon, not by the sequence. An LSTM, at every seed.
EXTRAS = [Cell(schedule("semi", 20, 10, seq_len=40))]
EXTRAS += [Cell(plan, carry="clean") for plan in SCHEDULES if plan.style == "true"]
EXTRAS += [cell._replace(seams="exact") for cell in EXTRAS[-3:]]
EXTRAS += [Cell(schedule("epochwise", 5), rate, carry="clean") for rate in RATES]
EXTRAS += [Cell(schedule("true", h, seq_len=t), epsilon=1e-8 * h / t) for h, t in PAIRS[:1]]
EXTRAS += [Cell(plan, cell="lstm") for plan in HORIZON_20]


def cells() -> list[Cell]:
    """Every cell, in the order in which they are run: the article's, the controls, more seeds.

    Further questions come last.
    """
    usual = [Cell(plan, rate) for plan in (*SCHEDULES, *CONTROLS, *FULL) for rate in RATES]
    seeds = lambda cells, first: [
        cell._replace(seed=seed) for seed in range(first, NUM_SEEDS) for cell in cells
    ]
    lstms = [cell for cell in EXTRAS if cell.cell == "lstm"]
    return [*seeds(usual, 0), *EXTRAS, *seeds(lstms, 1)]
