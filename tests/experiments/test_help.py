"""Every command explains itself: its own flags alone, and no failure."""

import importlib
import pkgutil
import re

import mains
import pytest
from absl import flags

import experiments
from experiments.record.errors import UserError

COMMANDS = [m.name for m in pkgutil.iter_modules(experiments.__path__) if not m.ispkg]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_exits_0_and_states_flags_that_the_command_accepts(name, capsys, monkeypatch):
    module = importlib.import_module(f"experiments.{name}")
    assert mains.exit_of(module, "--help") == 0
    said = capsys.readouterr().out
    assert said.startswith(module.__doc__.splitlines()[0])
    assert f"python -m experiments.{name}" in said
    stated = re.findall(r"^  --(?:\[no\])?(\w+)", said, re.MULTILINE)
    assert stated

    def main():
        raise UserError("accepted")

    main.__module__ = module.__name__
    monkeypatch.setattr(module, "main", main)
    for flag in stated:
        default = flags.FLAGS[flag].default
        value = "3" if default is None else default
        assert mains.exit_of(module, f"--{flag}={value}") == "error: accepted"


def test_a_flag_of_another_command_is_refused():
    diagram = importlib.import_module("experiments.diagram")
    said = mains.exit_of(diagram, "--style=true")
    assert said == "error: --style is not a flag of this command; see --help."
