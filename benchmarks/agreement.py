"""Do all peers compute the same loss and gradients? Asked before anything is timed."""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import problem
from benchmarks.client import Peer, PeerError

TOLERANCE = 2e-5  # of each array's max-norm


def style(variant: str) -> str:
    """What a variant computes: `true` for `true-windows`."""
    return variant.split("-")[0]


def load(peers: list[Peer], setting: problem.Setting, seed: int, folder: Path) -> None:
    """Gives the same problem to all peers; it stays loaded."""
    path = folder / "problem.npz"
    arrays: dict[str, Any] = problem.make(setting, seed)
    np.savez(path, **arrays)
    for peer in peers:
        peer.ask("load", path=str(path), horizon=setting.horizon)


def check(peers: list[Peer], folder: Path) -> dict[str, float]:
    """Compares every variant with ours of the same style, on the problem that is loaded.

    Args:
      peers: running workers, ours first.
      folder: where the workers may write.

    Returns:
      The largest error over the loss and the gradients, relative to each array's max-norm, by
      `peer variant`.

    Raises:
      PeerError: an error exceeds `TOLERANCE`.
    """
    ours = peers[0]
    styles = [variant for variant in ours.variants if variant == style(variant)]
    expected = {variant: _results(ours, variant, folder) for variant in styles}
    largest = {}
    for peer in peers:
        for variant in peer.variants:
            if peer is ours and variant in styles:
                continue
            wanted, found = expected[style(variant)], _results(peer, variant, folder)
            errors = {name: _error(found[name], wanted[name]) for name in wanted}
            worst = max(errors, key=errors.__getitem__)
            if not errors[worst] <= TOLERANCE:
                raise PeerError(
                    f"{peer.name} {variant} is not ours {style(variant)}: {worst} is off by "
                    f"{errors[worst]:.1e} of its max-norm, more than {TOLERANCE:.0e}."
                )
            largest[f"{peer.name} {variant}"] = errors[worst]
    return largest


def _results(peer, variant, folder):
    path = folder / "results.npz"
    peer.ask("gradient", variant=variant, path=str(path))
    with np.load(path) as arrays:
        return {name: arrays[name] for name in ("loss", *problem.PARAMETERS)}


def _error(found, wanted):
    if found.shape != wanted.shape or not np.all(np.isfinite(found)):
        return float("inf")
    return float(np.max(np.abs(found - wanted)) / np.max(np.abs(wanted)))
