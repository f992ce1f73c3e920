"""README's first example runs as it stands, prints what README says, and README stays short."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


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
