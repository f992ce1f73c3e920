"""The committed page and verdicts are what the committed results say."""

import json
import re
import shutil
from pathlib import Path

import pytest

from experiments import claims, page
from experiments.errors import UserError

pytestmark = pytest.mark.standard

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"


def test_the_page_is_what_the_results_say():
    """If not: `python -m experiments.compare`, then `python -m experiments.page`."""
    assert (ROOT / "docs" / "results.md").read_text() == page.text(RESULTS)


def test_the_verdicts_are_what_the_results_say():
    found = json.loads((RESULTS / "compare.json").read_text())["claims"]
    findings = claims.findings(RESULTS, ROOT / "benchmarks" / "results")
    assert found == json.loads(json.dumps([finding._asdict() for finding in findings]))


def test_the_page_links_to_what_is_there():
    text = (ROOT / "docs" / "results.md").read_text()
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert len(links) > 15
    for link in links:
        assert link.startswith("https://") or (ROOT / "docs" / link).exists(), link


def test_a_missing_or_damaged_result_is_named(tmp_path):
    shutil.copytree(RESULTS, tmp_path / "results")
    (tmp_path / "results" / "timing.json").unlink()
    with pytest.raises(UserError, match=r"timing\.json is missing; run its main\."):
        page.text(tmp_path / "results")
    (tmp_path / "results" / "timing.json").write_text("{}")
    with pytest.raises(UserError, match=r"timing\.json .*is damaged; run its main again\."):
        page.text(tmp_path / "results")
