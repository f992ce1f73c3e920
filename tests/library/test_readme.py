"""README's first example runs as it stands, prints what README says, and README stays short."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
LINKS = r"\]\(([^)#]+)[^)]*\)"


def test_first_example_prints_what_readme_says():
    text = README.read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    said = re.findall(r"`(horizon \d+: loss [\d.]+)`", text)
    printed = subprocess.run(
        [sys.executable, "-c", example], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert len(printed) == 2
    for line, expected in zip(printed, said, strict=True):
        *words, loss = line.split()
        *same_words, same_loss = expected.split()
        assert words == same_words
        assert abs(float(loss) - float(same_loss)) <= 0.02


def test_readme_is_read_in_two_minutes():
    assert len(README.read_text().splitlines()) <= 120


def test_links_lead_somewhere_in_the_checkout():
    links = re.findall(LINKS, README.read_text())
    assert len(links) > 10
    for link in links:
        assert link.startswith("https://") or (ROOT / link).exists(), link


@pytest.mark.needs("setuptools")
def test_links_lead_into_the_repository_on_a_package_index():
    text, repository = README.read_text(), "https://example.org/owner/name"
    links = re.findall(LINKS, text)
    shown = runpy.run_path(str(ROOT / "setup.py"))["absolute"](text, repository)
    for link, there in zip(links, re.findall(LINKS, shown), strict=True):
        part = "raw" if link.endswith(".png") else "blob"
        is_absolute = link.startswith("https://")
        assert there == (link if is_absolute else f"{repository}/{part}/HEAD/{link}")
