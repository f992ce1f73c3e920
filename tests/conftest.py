"""Eight simulated devices, no compilation cache; float64 and strict promotion; the mark `needs`."""

import os

import jaxlib

os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        "--xla_backend_optimization_level=0",
        # Compiles in half the time. Later versions do not know the flag, and stop at it.
        "--xla_cpu_use_fusion_emitters=false" if jaxlib.__version__.startswith("0.10.") else "",
    ]
)
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"

import frameworks
import jax
import pytest


def pytest_runtest_setup(item):
    for mark in item.iter_markers("needs"):
        for name in mark.args:
            frameworks.needed(name)


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
        jax.default_matmul_precision("highest"),  # else a GPU's float32 products are TF32
    ):
        yield
