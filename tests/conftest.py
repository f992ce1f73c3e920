"""Eight simulated devices, no compilation cache; float64 and strict promotion; marks that skip."""

import os

import jaxlib

os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        "--xla_backend_optimization_level=0",
        # Compile in 0.7 times and in half the time. jaxlib stops at a flag that it does not know.
        "--xla_cpu_parallel_codegen_split_count=1"
        if jaxlib.__version__.startswith(("0.10.", "0.11.", "0.12."))
        else "",
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
    for mark in item.iter_markers("devices"):
        if jax.device_count() < mark.args[0]:
            pytest.skip(f"needs {mark.args[0]} devices")
    if item.get_closest_marker("cpu") and jax.default_backend() != "cpu":
        pytest.skip("is about programs for a CPU")


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
