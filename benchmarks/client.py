"""The other side of `worker`: starts the peers' processes and asks them."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from experiments.record.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
PEERS = {  # peer: its environment's Python
    "ours": Path(sys.executable),
    "plain_jax": Path(sys.executable),
    "pytorch": ROOT / ".venv-peers/bin/python",
    "tensorflow_graphs": ROOT / ".venv-peers/bin/python",
}


class PeerError(UserError):
    """A peer could not do what it was asked: one line that names it."""


class Peer:
    """A running worker."""

    def __init__(self, name: str):
        self.name = name
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115, closed in stop
        self._process = subprocess.Popen(
            [PEERS[name], "-m", f"benchmarks.peers.{name}"],
            cwd=ROOT,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self._process.stdout is not None
        self._answers = self._process.stdout
        said = self.ask("versions")
        self.versions: dict[str, str] = said["versions"]
        self.threads: int = said["threads"]
        self.variants: list[str] = self.ask("variants")["variants"]

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """One request and its answer.

        Raises:
          PeerError: the worker died, or answers with an error.
        """
        try:
            print(json.dumps({"do": do} | request), file=self._process.stdin, flush=True)
            line = self._answers.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise PeerError(f"{self.name} died at {do!r}: {self._last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            what = " ".join(filter(None, [do, request.get("variant")]))
            raise PeerError(f"{self.name} failed at {what!r}: {answer['error']}")
        return answer

    def stop(self) -> None:
        """Ends the worker."""
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def _last_words(self):
        self._process.wait()
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        return lines[-1] if lines else f"exit code {self._process.returncode}, nothing said"


def available() -> list[str]:
    """The peers whose environment is there; says which are not."""
    for name, python in PEERS.items():
        if not python.exists():
            print(f"{name} is left out: no {python.parents[1].name} here; `make peers` makes it.")
    return [name for name, python in PEERS.items() if python.exists()]
