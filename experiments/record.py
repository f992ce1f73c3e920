"""What a run leaves behind: config.json and metrics.jsonl in its working directory."""

import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax

from experiments.errors import UserError

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def start(workdir: Path, config: dict[str, Any]) -> None:
    """Creates `workdir` and writes its config.json.

    Raises:
      UserError: it is a file, cannot be written, or holds a run already.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with open(workdir / "config.json", "x", encoding="utf-8") as file:
            json.dump(config, file, indent=2)
            file.write("\n")
    except FileExistsError:
        if workdir.is_dir():
            raise UserError(f"--workdir={workdir} holds a run already; name another.") from None
        raise UserError(f"--workdir={workdir} is a file; name a folder.") from None
    except OSError as error:
        raise UserError(f"--workdir={workdir} cannot be written: {error.strerror}.") from None


def append(workdir: Path, metrics: dict[str, Any]) -> None:
    """Adds one line to metrics.jsonl and sees it to the disk."""
    with open(workdir / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(metrics, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def environment() -> dict[str, Any]:
    """Versions, commit and device: what else a number depends on."""
    device = jax.devices()[0]
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "versions": {"python": platform.python_version()} | versions,
        "commit": _commit(),
        "device": f"{device.platform}: {device.device_kind}",
        "num_cores": os.cpu_count(),
    }


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
