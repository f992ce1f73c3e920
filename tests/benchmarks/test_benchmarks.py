"""What the benchmarks compare is one gradient, and they say so when it is not."""

import subprocess
import sys

import chex
import jax
import numpy as np
import pytest

from benchmarks import agreement, problem, recurrence, tol
from benchmarks.client import Peer, PeerError
from tbptt_jax import truncated_scan

pytestmark = pytest.mark.standard


@pytest.mark.parametrize("cell", recurrence.CELLS)
def test_windows_run_again_have_the_gradient_of_the_truncated_scan(cell):
    case = recurrence.Case(cell, 2, 9, 5, 4)
    windows, args = recurrence.windowed(case)
    value, (grads,) = windows(*args)
    scanned, args = recurrence.scanned(case, case.horizon)
    expected, (expected_grads, _) = scanned(*args)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    chex.assert_trees_all_close(grads, expected_grads, rtol=1e-4, atol=1e-5)
    _, (full, _) = recurrence.scanned(case, None)[0](*args)
    assert np.abs(jax.tree.leaves(full)[0] - jax.tree.leaves(grads)[0]).max() > 1e-2


@pytest.fixture
def peers(tmp_path):
    started = [Peer("ours"), Peer("plain_jax")]
    agreement.load(started, problem.TINY, 0, tmp_path)
    yield started
    for peer in started:
        peer.stop()


def test_peers_agree_and_a_wrong_horizon_is_found_out(peers, tmp_path):
    errors = agreement.check(peers, tmp_path)
    assert len(errors) == 5 and max(errors.values()) < agreement.TOLERANCE
    path = str(tmp_path / "problem.npz")
    peers[1].ask("load", path=path, horizon=problem.TINY.horizon + 1)
    with pytest.raises(PeerError, match=r"^plain_jax .* is not ours .*: .* is off by"):
        agreement.check(peers, tmp_path)


@pytest.mark.parametrize("main", ["step_time", "training_step", "recurrence", "cells", "tol"])
def test_a_bad_flag_is_named(main):
    command = [sys.executable, "-m", f"benchmarks.{main}", "--rounds=0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "--rounds=0: 0 is not a positive integer" in done.stderr


@pytest.mark.parametrize("decay", [0.5, 0.8])
def test_sweeps_are_counted(decay):
    """One error, on the last carry, of which the i-th sweep, counted from 0, finds decayⁱ."""

    def gradient(kernel, carry, batch, **options):
        step = lambda carry, x: (carry @ kernel + x, carry)
        return truncated_scan(step, carry, batch, horizon=12, **options)[0][0]

    powers = decay ** np.arange(12)
    arrived = np.sqrt(np.cumsum(powers**2))
    ended = [np.append(powers <= tolerance * arrived, True) for tolerance in tol.TOLERANCES]
    expected = [min(int(np.argmax(of)) + 1, 11) for of in ended]
    rotation = np.array([[0.6, 0.8], [-0.8, 0.6]], np.float32)
    batch = np.linspace(1.0, 2.0, 40, dtype=np.float32).reshape(20, 2)
    found = tol.num_sweeps(gradient, 12)(decay * rotation, np.zeros(2, np.float32), batch)
    assert found.tolist() == expected and expected[0] < expected[1]
