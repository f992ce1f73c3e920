"""The page's tables, row by row, from numbers made up."""

from pathlib import Path

import pytest

from experiments.claims import cells as table_cells
from experiments.claims import comparisons, page, tables
from experiments.claims.cells import Cell
from experiments.claims.comparisons import Comparison
from experiments.claims.numbers import Numbers
from experiments.claims.runs import BesideArticle, Run, Summary
from experiments.claims.sections import Section
from experiments.claims.verdicts import Estimate, Finding
from experiments.lm.styles import schedule

pytestmark = pytest.mark.standard

CLEAN, EXACT = "state carried on without dropout", "errors cross sequence boundaries"
TRUE, EPOCHWISE = schedule("true", 5, seq_len=20), schedule("epochwise", 5)


def lines(text):
    """The cells of each row, without the head."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[2:]]


def finished(losses):
    """Cells with these best losses."""
    updates = {5: 5809, 20: 1452, 40: 726}
    return {
        cell: Run((loss,), updates[cell.schedule.seq_len], 1.0, loss)
        for cell, loss in losses.items()
    }


def test_losses_stand_beside_the_articles():
    found = finished({Cell(TRUE, 0.003): 5.1, Cell(EPOCHWISE, 0.0003): 5.055})
    rows = {row[0]: row[1:] for row in lines(tables.article_table(found))}
    assert len(rows) == 7
    assert rows["true, 5, 20"] == ["5.100 (5.12; -0.020)", "– (5.01)", "– (5.09)"]
    assert rows["epochwise, 5, 5"] == ["– (5.21)", "– (5.04)", "5.055 (5.04; +0.015)"]


def test_seeds_stand_beside_their_mean_and_updates():
    losses = {Cell(TRUE, 0.001, seed): 5.0 + 0.01 * seed**2 for seed in range(3)}
    losses[Cell(EPOCHWISE, 0.003, 1)] = 5.2
    rows = {row[0]: row[1:] for row in lines(tables.seeds_table(finished(losses)))}
    none = ["–", "–"]
    assert rows["true, 5, 20"] == ["1,452", *none, "5.000 5.010 5.040", "5.017", *none]
    assert rows["epochwise, 5, 5"] == ["5,809", "5.200", "5.200", *none, *none]
    assert rows["epochwise, 10, 10"] == rows["full, 30, 30"] == ["–"] * 7


def test_difference_falls_into_style_and_updates():
    def row(claim, difference, article=None, rate=0.001):
        rates, estimate = (rate, rate), Estimate(difference)
        return Comparison(claim, TRUE, EPOCHWISE, rate, rates, estimate, 1, article, 0.01)

    rows = [
        row(comparisons.EQUAL_HORIZON, -0.3, -0.03),
        row(comparisons.EQUAL_UPDATES, -0.1),
        row(comparisons.FEWER_UPDATES, -0.2),
        row(comparisons.EQUAL_LENGTH, 9.0),
        row(comparisons.EQUAL_HORIZON, 9.0, 9.0, rate=None),
        row(comparisons.EQUAL_HORIZON, 9.0, 9.0, rate=0.003),  # its parts are not there
    ]
    found = lines(tables.parts_table(rows))
    assert found == [["0.001", "5", "-0.03", "-0.300", "-0.100", "-0.200"]]


def test_further_cells_stand_beside_what_they_differ_from(monkeypatch):
    clean = Cell(TRUE, carry="clean")
    exact, lstm = clean._replace(seams="exact"), Cell(EPOCHWISE, 0.003, cell="lstm")
    semi = Cell(schedule("semi", 20, 10, seq_len=40))
    epsilon = Cell(TRUE, epsilon=1e-8 / 3)
    monkeypatch.setattr(table_cells, "EXTRAS", [semi, clean, exact, epsilon, lstm])
    losses = {Cell(TRUE): 5.0, semi: 5.01, clean: 5.03, exact: 5.02, epsilon: 5.0, lstm: 4.9}
    losses |= {Cell(TRUE, seed=1): 5.1, clean._replace(seed=1): 5.15, exact._replace(seed=2): 5.0}
    assert lines(tables.extras_table(finished(losses))) == [
        ["semi, 20, 40", "0.001", "the schedule", "1", "5.010", "–"],
        ["true, 5, 20", "0.001", CLEAN, "2", "5.090", "+0.040 ± 0.127, p = 0.16"],
        ["true, 5, 20", "0.001", f"{CLEAN}, {EXACT}", "2", "5.010", "-0.010"],
        ["true, 5, 20", "0.001", "Adam's epsilon 3.3e-09", "1", "5.000", "+0.000"],
        ["epochwise, 5, 5", "0.003", "LSTM", "1", "4.900", "–"],
    ]
    assert tables.extras_table({}) == "None of them is there yet."


def test_further_cells_are_one_family(monkeypatch):
    clean, lstm = Cell(TRUE, carry="clean"), Cell(TRUE, cell="lstm")
    monkeypatch.setattr(table_cells, "EXTRAS", [clean, lstm])
    losses = {Cell(TRUE): 5.0, Cell(TRUE, seed=1): 5.1}
    losses |= {clean: 5.03, clean._replace(seed=1): 5.15}
    (row,) = (row for row in lines(tables.extras_table(finished(losses))) if CLEAN in row)
    assert row[-1] == "+0.040 ± 0.127, p = 0.16"
    losses |= {lstm: 4.9, lstm._replace(seed=1): 4.8}
    first, second = lines(tables.extras_table(finished(losses)))
    assert first[-1] == "+0.040 ± 0.127, p = 0.31"
    assert second[-1].startswith("-0.200 ± 1.271, p = 0.31")


def test_the_best_epochs_are_those_of_the_articles_cells():
    of = lambda *losses: Run(losses, 1, 1.0, 5.0)
    late, early = of(*[5.0 - 0.01 * n for n in range(20)]), of(4.0, *[5.0] * 19)
    found = {Cell(TRUE): late, Cell(TRUE, seed=2): early}
    found |= {Cell(table_cells.CONTROLS[0]): early, Cell(TRUE, carry="clean"): early}
    assert page.best_epochs(found) == "1 to 20 at rate 0.001 (the last in 1 of 2 runs)"


def test_claims_have_a_row_and_cases_a_column():
    findings = [
        Finding("a claim", "rate 1", "said", ("seen", "twice"), "holds"),
        Finding("a claim", "rate 2", "", ("not seen",), "undecided"),
        Finding("another", "rate 2", "", ("seen",), "holds"),
    ]
    section = Section("A title", findings, ("results/a.json", "results/table"))
    text, links = tables.verdicts_table(section).split("\n\n")
    assert text.splitlines()[0] == "| claim | rate 1 | rate 2 |"
    assert lines(text) == [
        ["a claim", "**holds**<br>seen<br>twice<br>*article*: said", "**undecided**<br>not seen"],
        ["another", "–", "**holds**<br>seen"],
    ]
    assert links == "From [a.json](../results/a.json), [table](../results/table)."


def test_vanishing_has_the_factor_over_all_lags_and_over_the_first():
    norms = [1.0] * 5 + [2.0**-5] * 15  # five steps, of which the last is all
    row = {"cell": "gru", "state_size": 4, "epochs": 0, "expected": 3.0}
    rows = [row | {"factor": [1.0, 3.0, 2.5], "l1": [norms] * 3}]
    rows.append(row | {"epochs": 3, "factor": [2.0], "l1": [norms]})
    assert lines(tables.vanishing_table(rows)) == [
        ["gru", "4", "0", "2.50 (1.00–3.00)", "2.00 (2.00–2.00)", "3.00"],
        ["gru", "4", "3", "2.00", "2.00", "3.00"],
    ]


def test_what_is_left_after_the_last_lag_is_a_median_of_seeds():
    def row(state, *norms):
        return {"cell": "vanilla", "state_size": state, "epochs": 0, "l1": norms}

    rows = [row(4, (8.0,) * 6, (8.0,) * 6, (8.0,) * 5 + (2.0,)), row(100, (1.0,) * 5 + (0.5,))]
    rows = [r | {"factor": [1.0], "expected": 1.0} for r in rows]
    rows = [Numbers(Path("x.json"), [*r.items()]) for r in rows]
    left = page.vanishing_numbers(Numbers(Path("x.json"), [("rows", rows)]))
    assert (left["left_4"], left["left_100"]) == ("1", "0.5")


def test_times_are_in_units_of_fulls():
    row = {"name": "true, by sweeps", "ratio": [0.8, 0.9, 1.1], "milliseconds": [30.4, 28.6]}
    found = {"article_ms": {"full": 80.2, "true": 173.0}, "rows": [row]}
    assert lines(tables.timing_table(found)) == [
        ["the article's true style", "2.16", "–"],
        ["true, by sweeps", "0.90 (0.80–1.10)", "30, 29"],
    ]
    shape = {"cell": "rnn", "batch": 1, "steps": 2, "state": 3, "horizon": 4}
    shape["true"] = {"ratio": [1.0, 1.5, 9.0]}
    found = lines(tables.recurrence_table([shape]))
    assert found == [["rnn", "1", "2", "3", "4", "1.50", "2.00"]]


def test_gradcheck_has_the_largest_errors():
    article = {"windows": {"a": 1e-7, "b": 3e-7}, "sweeps": {"a": 9.0}}
    found = {"tolerances": {"float32": 1e-5}}
    found["float32"] = {"article": article, "all": [{"error": 2e-7}, {"error": 4e-7}]}
    row = ["float32", "3.0e-07", "4.0e-07", "1e-05"]
    assert lines(tables.gradcheck_table(found)) == [row]


def test_counts_are_in_the_order_of_the_steps():
    counted = [{"style": "true", "reach": {"9": 1, "10": 5}}, {"style": "b", "reach": {"10": 2}}]
    text = tables.counts_table(counted)
    assert text.splitlines()[0] == "| steps that an error reaches back | 9 | 10 |"
    assert lines(text) == [["true", "1", "5"], ["b", "0", "2"]]


def test_summary_counts_what_is_within_the_aim():
    pairs = ((5.029, 0.02), (4.969, 0.02), (5.031, 0.02), (5.02, 0.06))
    rows = [BesideArticle(Cell(TRUE), article, 5.0) for article, _ in pairs]
    said = page.table_numbers(
        Summary(rows, {0.001: 0.1}, 0.1, -0.1, [pattern for _, pattern in pairs])
    )
    assert (said["within"], said["cells"], said["largest"]) == ("2", "4", "-0.100")
    assert (said["largest_pattern"], said["pattern"]) == ("0.060", "0.017")
    assert said["offsets"] == "+0.100 at rate 0.001"
