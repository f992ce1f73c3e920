"""Every command explains itself: its own flags and defaults alone, and no failure."""

import importlib
import pkgutil
import re

import commands
import pytest
from absl import flags

import benchmarks
import experiments
import experiments.studies
from experiments.record.errors import UserError

COMMANDS = [
    f"{package.__name__}.{module.name}"
    for package in (experiments, experiments.studies, benchmarks)
    for module in pkgutil.iter_modules(package.__path__)
    if not module.ispkg
    and hasattr(importlib.import_module(f"{package.__name__}.{module.name}"), "main")
]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_exits_0_and_states_flags_that_the_command_accepts(name, capsys, monkeypatch):
    module = importlib.import_module(name)
    assert commands.exit_of(module, "--help") == 0
    said = capsys.readouterr().out
    assert said.startswith(module.__doc__.splitlines()[0])
    assert f"python -m {name}" in said
    parts = re.split(r"^  --(?:\[no\])?(\w+)", said, flags=re.MULTILINE)[1:]
    stated = dict(zip(parts[::2], parts[1::2], strict=True))
    assert stated
    seen = []

    def main():
        seen.append(flags.FLAGS.flag_values_dict())
        raise UserError("accepted")

    main.__module__ = module.__name__
    monkeypatch.setattr(module, "main", main)
    for flag, text in stated.items():
        assert commands.exit_of(module) == "error: accepted"
        default = seen[-1][flag]
        says = re.search(r"\(default: '?(.*?)'?\)", text)
        assert (says[1] if says else "none") == str(default).lower()
        value = "3" if default is None else default
        said = commands.exit_of(module, f"--{flag}={value}")
        assert said == "error: accepted" or "goes with --" in said


def test_there_are_commands_of_both_kinds():
    assert {"experiments.ptb", "benchmarks.step_time"} <= set(COMMANDS)


def test_a_flag_of_another_command_is_refused():
    diagram = importlib.import_module("experiments.diagram")
    said = commands.exit_of(diagram, "--style=true")
    assert said == "error: --style is not a flag of this command; see --help."
