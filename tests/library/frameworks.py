"""The packages that some tests of the library need beside jax: optax, flax, diffrax and others."""

import importlib
import os

import pytest


def needed(name):
    """The package `name`; without it the test or module that asks is skipped.

    Where $REQUIRE_ALL is set, its absence is a failure. A test asks by the mark `needs(name)`, a
    module that uses the package at its top by `name = needed("name")`.
    """
    if os.environ.get("REQUIRE_ALL"):
        return importlib.import_module(name)
    return pytest.importorskip(name, reason=f"needs {name}", exc_type=ImportError)
