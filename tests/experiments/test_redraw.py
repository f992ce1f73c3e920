"""The committed charts show the committed numbers."""

import pytest
from committed import RESULTS
from matplotlib.figure import Figure

from experiments import redraw
from experiments.charts.style import digest

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
