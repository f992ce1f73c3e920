"""Every example runs at a tiny size, prints its horizons, and is short."""

import importlib
import math
import re
from pathlib import Path

import pytest

PATHS = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
NEEDS = {"flax_nnx_lm": "flax", "flax_linen_lm": "flax", "equinox_lm": "equinox"}
NEEDS |= {"haiku_lm": "haiku", "neural_ode": "diffrax", "grain_stream": "grain"}

pytestmark = pytest.mark.standard


def example(path):
    needed = ("optax", NEEDS.get(path.stem, "optax"))
    return pytest.param(path, id=path.stem, marks=pytest.mark.needs(*needed))


@pytest.mark.parametrize("path", [*map(example, PATHS)])
def test_an_example_runs(path, capsys, monkeypatch):
    module = importlib.import_module(f"examples.{path.stem}")
    assert len(module.HORIZONS) >= 4 and module.HORIZONS[0] == 1
    monkeypatch.setattr(module, "HORIZONS", module.HORIZONS[1:2])
    module.main(10)
    (line,) = capsys.readouterr().out.splitlines()
    label, *numbers = re.findall(r"[\d.]+(?:e[+-]\d+)?", line)
    assert int(label) == module.HORIZONS[0]
    assert numbers and all(math.isfinite(float(number)) for number in numbers)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_an_example_is_one_page_and_shows_the_edit(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 80
    assert re.search(r"^    -  ", text, re.MULTILINE) and re.search(
        r"^    \+  ", text, re.MULTILINE
    )
    assert "Look at: " in text
