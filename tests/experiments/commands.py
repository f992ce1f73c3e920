"""Runs a command as the command line does."""

import io
import os
import sys

import pytest
from absl import flags
from absl.testing import flagsaver

from experiments.record import launch


def exit_of(module, *args):
    """Runs the module's main in this process: the error that ends it, else the exit's code."""
    stderr = io.TextIOWrapper(io.BytesIO(), "utf-8")
    with pytest.MonkeyPatch.context() as patch, flagsaver.flagsaver():
        patch.setattr(sys, "argv", [module.__file__, *args])
        patch.setattr(sys, "stderr", stderr)
        patch.setattr(os, "_exit", sys.exit)  # this process goes on
        with pytest.raises(SystemExit) as stop:
            launch.run(module.main)
    flags.FLAGS.unparse_flags()
    stderr.seek(0)
    said = stderr.read()
    sys.stderr.write(said)
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    return errors[-1] if errors else stop.value.code
