"""What every measured number depends on beside the code."""

import platform
from pathlib import Path

from experiments.record.environment import environment


def machine() -> dict:
    """Processor and system beside the experiments' versions, commit, device and cores."""
    return {"cpu": _cpu_model(), "system": platform.system()} | environment()


def _cpu_model():
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
