"""Two simulated devices, no compilation cache; float64 and strict promotion for the library; how
the tests run a study.
"""

import json
import os
import sys

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
)
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"

import jax
import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import launch


@pytest.fixture(autouse=True)
def strict_float64(request):
    """Everything runs in float64 without implicit promotion, but for modules marked `standard`."""
    if request.node.get_closest_marker("standard"):
        yield
        return
    with (
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("strict"),
        jax.numpy_rank_promotion("raise"),
    ):
        yield


@pytest.fixture
def exit_of(monkeypatch, tmp_path):
    """Runs a main in this process, `tmp_path` its --out: the exit's code or message."""

    def run(module, *args, out=tmp_path):
        monkeypatch.setattr(sys, "argv", [module.__file__, f"--out={out}", *args])
        with flagsaver.flagsaver(), pytest.raises(SystemExit) as stop:
            launch.run(module.main)
        flags.FLAGS.unparse_flags()
        return stop.value.code

    return run


@pytest.fixture
def study(exit_of, capsys, tmp_path):
    """Runs a study's main to its good end: (its JSON by name, stdout)."""

    def run(module, *args):
        code = exit_of(module, *args)
        assert code in (None, 0), code
        found = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
        return found, capsys.readouterr().out

    return run


@pytest.fixture
def short_text(tmp_path):
    """The folder of a text of ten thousand words, as a flag."""
    folder = tmp_path / "text"
    folder.mkdir()
    for split, lines in {"train": 1200, "valid": 600, "test": 600}.items():
        (folder / f"{split}.txt").write_text("a b a b c\nb c a\n" * lines)
    return f"--data_dir={tmp_path / 'text'}"
