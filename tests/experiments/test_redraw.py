"""The committed charts show the committed numbers."""

import contextlib

import pytest
from committed import RESULTS
from matplotlib.figure import Figure

from experiments import redraw
from experiments.charts import compare
from experiments.charts.style import digest
from experiments.claims import comparisons, runs
from experiments.record.errors import UserError

pytestmark = pytest.mark.standard


def test_every_chart_shows_the_committed_numbers(monkeypatch):
    """If not: `python -m experiments.redraw --out=results`."""
    now = {}

    def savefig(_, path, metadata):
        now[path] = metadata["Description"]

    monkeypatch.setattr(Figure, "savefig", savefig)
    redraw.draw(RESULTS, RESULTS)
    assert now.keys() == {*RESULTS.glob("*.png"), *RESULTS.glob("*.svg")}
    assert not [path.name for path, said in now.items() if said.encode() not in path.read_bytes()]


def test_digest_is_that_of_the_json():
    assert digest({"a": (1, 2.0)}) == digest({"a": [1, 2.0]}) != digest({"a": [1, 2.1]})


def test_wider_intervals_are_another_chart(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(
        compare, "save", lambda figure, path, numbers: drawn.append(digest(numbers))
    )
    (row, *_) = comparisons.comparisons(runs.read(RESULTS / "table")[0])
    wider = row._replace(estimate=row.estimate._replace(standard_error=1.0, df=3))
    for each in (row, wider):
        compare.draw([each], tmp_path / "compare.png")
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize("name", ["williams_peng_delay", "reach", "a.b"])
def test_damaged_results_are_named(tmp_path, name):
    (tmp_path / f"{name}.json").write_text("{")
    said = contextlib.nullcontext() if name == "a.b" else pytest.raises(UserError, match=name)
    with said:
        redraw.draw(tmp_path, tmp_path)
