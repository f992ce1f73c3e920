"""The committed page and verdicts are what the committed results say."""

import json
import os
import re
import shutil

import pytest
from committed import RESULTS, ROOT

from experiments import compare, page, table
from experiments.claims import cells, comparisons, runs
from experiments.claims.page import missing_text
from experiments.claims.page import text as page_text
from experiments.claims.sections import sections
from experiments.claims.verdicts import HOLDS, NO_VERDICT
from experiments.record.errors import UserError
from experiments.text import data

pytestmark = pytest.mark.standard
PLANS = *cells.SCHEDULES, *cells.CONTROLS


def test_the_page_is_what_the_results_say():
    """If not: `python -m experiments.page --page=docs/results.md`."""
    assert (ROOT / "docs" / "results.md").read_text() == page_text(RESULTS)


def test_the_readme_has_the_tables_numbers():
    summary = runs.summary(runs.read(RESULTS / "table")[0])
    text = (ROOT / "README.md").read_text()
    for row in summary.rows:
        plan = row.cell.schedule
        start = f"| {plan.style}, {plan.horizon}, {plan.seq_len} |"
        (line,) = [line for line in text.splitlines() if line.startswith(start)]
        assert f"| {row.here:.3f} ({row.article:.2f}) |" in line
    assert f"within {abs(summary.largest):.3f} of the article" in text
    assert f"on average {summary.mean:.3f}" in text


def test_the_committed_table_has_the_articles_cells_and_the_page_says_what_is_missing():
    found, missing = runs.read(RESULTS / "table")
    first = {cells.Cell(plan, rate) for plan in PLANS for rate in cells.RATES}
    assert not {*first, *cells.EXTRAS} & {*missing}
    said = missing_text(found, missing)
    assert said in (ROOT / "docs" / "results.md").read_text()
    assert said.startswith(f"{len(found)} of {len(cells.cells())} cells are finished")
    counts = map(int, re.findall(r"(\d+) of seed", said))
    assert len(found) + sum(counts) == len(cells.cells())


def write_cells(folder):
    """All cells, made up: at every horizon full < true < semi < epochwise in its sequences."""
    losses = {"full": 4.9, "true": 5.0, "semi": 5.05, "epochwise": 5.1}
    for cell in cells.cells():
        plan = cell.schedule
        alone = 0.1 * (plan.style == "epochwise" and plan.seq_len == plan.horizon)
        loss = losses[plan.style] + alone + 0.001 * cell.seed
        rest = [6.0] * (cells.NUM_EPOCHS - 1)
        numbers = {"train_loss": [5.0, *rest], "valid_loss": [loss, *rest], "seconds": 360.0}
        numbers["test_loss"] = loss
        numbers |= {"best_valid_loss": loss, "best_epoch": 1}
        numbers["corpus"] = {"name": data.PTB, "md5": data.PTB_MD5, "tokens": {"train": 929589}}
        (folder / f"{cell.name}.json").write_text(json.dumps(cell.config | numbers))


def test_whole_tables_are_compared_and_written(exit_of, tmp_path):
    results, written = tmp_path / "results", tmp_path / "page.md"
    shutil.copytree(RESULTS, results)
    write_cells(results / "table")
    assert exit_of(table, "--check", f"--results={results}", out=None) is None
    assert exit_of(compare, f"--results={results}") is None
    assert (tmp_path / "compare.png").stat().st_size > 1000
    assert exit_of(page, f"--page={written}", f"--results={results}", out=None) is None
    assert written.read_text() == page_text(results)

    made = comparisons.comparisons(runs.read(results / "table")[0])
    found = {}
    for row in made:
        found.setdefault(row.claim, []).append(round(row.difference, 3))
    assert found == {
        comparisons.EQUAL_HORIZON: [-0.2] * 12,
        comparisons.EQUAL_LENGTH: [0.2, -0.1, 0.2] * 4,
        comparisons.EQUAL_UPDATES: [-0.1] * 12,
        comparisons.FEWER_UPDATES: [-0.1] * 12,
        comparisons.SEMI: [-0.05],
    }
    found = {(f.claim, f.case): f for f in sections(made, results)["Losses"].findings}
    better = found[comparisons.EQUAL_HORIZON, "rate 0.0003"]
    assert better.here[-1] == "seeds: 3" and better.verdict == HOLDS
    assert better.article == "h 5: +0.05, h 10: +0.07, h 20: +0.07"
    full = found[comparisons.EQUAL_LENGTH, "rate 0.001"]
    assert full.here[1].startswith("h 10: -0.100")
    assert full.verdict == "the opposite holds in 2, holds in 1"
    assert full.article == "h 5: -0.02, h 20: -0.01"
    (semi,) = (f for f in found.values() if f.claim == comparisons.SEMI)
    assert semi.here[-1] == "seeds: 1" and semi.verdict == NO_VERDICT


def test_the_page_opens_with_five_lines_of_numbers():
    text = page_text(RESULTS)
    lines = [line for line in text[: text.index("![")].splitlines() if line[:1].isdigit()]
    assert [line[:3] for line in lines] == ["1. ", "2. ", "3. ", "4. ", "5. "]
    assert all(any(c.isdigit() for c in line[3:]) for line in lines)


def test_the_page_is_not_written_where_it_should_not_be(exit_of, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    cases = {
        (f"--page={pipe}",): f"error: --page={pipe} is no name of a file.",
        (f"--page={tmp_path}",): f"error: --page={tmp_path} is no name of a file.",
    }
    for args, said in cases.items():
        assert exit_of(page, *args, out=None) == said
    for main in (page, compare):
        said = exit_of(main, f"--results={tmp_path / 'none'}", out=None)
        assert said == f"error: --results={tmp_path / 'none'} is no folder of results."
    assert pipe.is_fifo() and not (tmp_path / "none").exists()


def test_the_page_links_to_what_is_there():
    text = (ROOT / "docs" / "results.md").read_text()
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert len(links) > 15
    for link in links:
        assert link.startswith("https://") or (ROOT / "docs" / link).exists(), link


def test_a_missing_or_damaged_result_is_named(tmp_path):
    shutil.copytree(RESULTS, tmp_path / "results")
    results = tmp_path / "results"
    kept = (results / "timing.json").read_bytes()
    (results / "timing.json").unlink()
    with pytest.raises(UserError, match=r"timing\.json is missing; run its command\."):
        page_text(results)
    (results / "timing.json").write_text("{}")
    with pytest.raises(UserError, match=r"timing\.json lacks article_ms; run its command again\."):
        page_text(results)
    (results / "timing.json").write_bytes(kept)
    shutil.rmtree(results / "table")
    with pytest.raises(UserError, match=r"no cell of the article's table is there"):
        page_text(results)


def test_compare_writes_nothing_where_something_is_missing(exit_of, tmp_path):
    results = tmp_path / "results"
    shutil.copytree(RESULTS, results)
    path = results / "dependency.json"
    path.unlink()
    read = f"--results={results}"
    assert exit_of(compare, read) == f"error: {path} is missing; run its command."
    shutil.rmtree(results / "table")
    said = f"error: {results / 'table'} has no cells to compare; run experiments.table first."
    assert exit_of(compare, read) == said
    assert not [*tmp_path.glob("*.png")]
