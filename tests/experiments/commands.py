"""Runs a command as the command line does."""

import sys

import pytest
from absl import flags
from absl.testing import flagsaver

from experiments.record import launch


def exit_of(module, *args):
    """Runs the module's main in this process: the exit's code or message."""
    with pytest.MonkeyPatch.context() as patch, flagsaver.flagsaver():
        patch.setattr(sys, "argv", [module.__file__, *args])
        with pytest.raises(SystemExit) as stop:
            launch.run(module.main)
    flags.FLAGS.unparse_flags()
    return stop.value.code
