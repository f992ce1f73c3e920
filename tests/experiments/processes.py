"""Runs the main job in several processes of this machine, over loopback.

  PYTHONPATH=. python tests/experiments/processes.py

prints the largest difference of losses and parameters from one device's, for each number of devices
and of processes and each style; what all say when one process is killed, frozen or stopped, and how
far the run that goes on is from one that never ended. About half an hour on one core.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from texts import TEXTS, TINY, write

from experiments.record import checkpoints

BPTT = "--bptt=3"
SIZES = [*(flag for flag in TINY if flag != BPTT), "--batch_size=8", "--vocab_size=4"]
ROOT = Path(__file__).parents[2]
STYLES = {
    "true": [BPTT],
    "semi": [BPTT, "--style=semi", "--stride=2"],
    "epochwise": [BPTT, "--style=epochwise"],
    "full": ["--style=full", "--seq_len=6"],
    "true, exact": [BPTT, "--seams=exact", "--seq_len=2"],
}


def start(num, devices_each, args, environment=None, own=None, script=None):
    """The processes, each with so many devices; none is told of others where `num` is 1.

    Each has the same `args`, and its `own`; it runs the main job, or a script that does.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = f"--xla_force_host_platform_device_count={devices_each}"
    flags += " --xla_backend_optimization_level=0"
    setting = {"XLA_FLAGS": flags, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    setting = os.environ | setting | (environment or {})
    what = ["-m", "experiments.ptb"] if script is None else ["-c", script]
    command = [sys.executable, *what, *args]
    together = [f"--coordinator=127.0.0.1:{port}", f"--num_processes={num}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return [
        subprocess.Popen(
            [
                *command,
                *([*together, f"--process_id={number}"] if num > 1 else []),
                *(own[number] if own else []),
            ],
            env=setting,
            **pipes,
        )
        for number in range(num)
    ]


def finish(processes, limit=280.0):
    """Each one's exit code and the lines of stdout and stderr."""
    ends, by = [], time.monotonic() + limit
    try:
        for process in processes:
            out, err = process.communicate(timeout=by - time.monotonic())
            ends.append((process.returncode, out.splitlines(), err.splitlines()))
    finally:
        for process in processes:
            process.kill()
    return ends


def train(num, devices_each, args, **options):
    """Runs to the end: the exits."""
    ends = finish(start(num, devices_each, args, **options))
    assert all(code == 0 for code, *_ in ends), ends
    return ends


def end_one(processes, number, by, epochs=1):
    """Signals a process when so many epochs are printed: the exits and the seconds until the last.

    Where the signal is SIGSTOP, the process is killed after the others.
    """
    printed = 0
    while printed < epochs:
        line = processes[0].stdout.readline()
        assert line, processes[0].stderr.read()
        printed += line.lstrip()[:1].isdigit()
    processes[number].send_signal(by)
    began = time.monotonic()
    others = [each for each in processes if each is not processes[number]]
    ends, seconds = finish(others), time.monotonic() - began
    if by == signal.SIGSTOP:
        processes[number].kill()
    ends[number:number] = finish([processes[number]])
    return ends, seconds


def losses(workdir):
    """Of all epochs and of the result."""
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    names = "train_loss", "valid_loss", "best_valid_loss", "test_loss"
    return np.array([line[name] for line in lines for name in names if name in line])


def largest_difference(workdir, other):
    """Of losses and parameters, relative to each array's max-norm."""
    trees = [checkpoints.read(folder / "checkpoints")[0]["params"] for folder in (workdir, other)]
    pairs = [(losses(workdir), losses(other)), *zip(*map(_leaves, trees), strict=True)]
    return max(np.abs(a - b).max() / np.abs(b).max() for a, b in pairs)


def _leaves(tree):
    import jax

    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def table(folder):
    """Prints the differences, a row for each number of processes and devices."""
    text = f"--data_dir={write(folder / 'text', TEXTS)}"
    rows = [(1, 2, "data:2"), (2, 1, "data:2"), (2, 2, "data:4"), (4, 1, "data:4")]
    rows += [(2, 2, "data:2,model:2"), (4, 2, "data:4,model:2")]
    print("| processes | devices of each | mesh |", *(f"{name} |" for name in STYLES))
    print("|---|---|---|" + "---|" * len(STYLES), flush=True)
    for num, each, mesh in [(1, 1, None), *rows]:
        found = []
        for name, style in STYLES.items():
            workdir = folder / f"{num}-{each}-{mesh}-{name}"
            args = [text, *SIZES, *style, f"--workdir={workdir}"]
            train(num, each, [*args, *([f"--mesh={mesh}"] if mesh else [])])
            found.append(largest_difference(workdir, folder / f"1-1-None-{name}"))
        if mesh:
            print(f"| {num} | {each} | {mesh} |", *(f"{each:.1e} |" for each in found), flush=True)


def ends(folder):
    """Prints what the others say, and how far the run that goes on is from one that never ended."""
    text = f"--data_dir={folder / 'text'}"
    flags = lambda name: [text, BPTT, *SIZES, "--num_epochs=6", f"--workdir={folder / name}"]
    train(4, 1, flags("whole"))
    cases = [(0, signal.SIGKILL, 4), (3, signal.SIGKILL, 4), (1, signal.SIGKILL, 2)]
    cases += [(1, signal.SIGSTOP, 4), (1, signal.SIGTERM, 4), (0, signal.SIGTERM, 2)]
    for case, (number, by, num_after) in enumerate(cases):
        args = flags(f"ended-{case}")
        exits, seconds = end_one(start(4, 1, args), number, by)
        print(f"\n{by.name} to process {number} of 4; the others ended within {seconds:.0f} s")
        for other, (code, _, err) in enumerate(exits):
            print(f"process {other}: exit code {code}, {err}")
        train(num_after, 1, args)
        difference = largest_difference(folder / f"ended-{case}", folder / "whole")
        print(f"gone on with {num_after}: largest difference {difference:.1e}", flush=True)


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        table(folder)
        ends(folder)


if __name__ == "__main__":
    main()
