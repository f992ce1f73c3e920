"""Versions, commit and machine: what a number depends on beside the settings."""

import functools
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


@functools.cache
def environment() -> dict[str, Any]:
    """Versions, commit and device: what else a number depends on, as it was at the first call."""
    device = jax.devices()[0]
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "versions": {"python": platform.python_version()} | versions,
        "commit": _commit(),
        "cpu": _cpu_model(),
        "system": platform.system(),
        "device": f"{device.platform}: {device.device_kind}",
        "num_cores": _num_cores(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "matmul_precision": jax.config.values["jax_default_matmul_precision"] or "default",
    }


def machine(found: Mapping[str, Any]) -> str:
    """What ran it; a GPU's float32 products are JAX's default ones, which round to TF32.

    Args:
      found: an `environment`, or a result with its entries.
    """
    platform, kind = found["device"].split(": ")
    if platform == "cpu":
        named = f" ({found['cpu']})" if "cpu" in found else ""
        return f"{found['num_cores']} CPU cores{named}"
    return f"products in JAX's default precision, {kind}"


def _num_cores() -> int | None:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """The checkout's commit, with -dirty where tracked files differ; None outside a checkout."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        found = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
