"""The committed results, and what is made of them when one is changed."""

import json
import shutil
from pathlib import Path

from experiments.claims import article as claims

ROOT = Path(__file__).parents[2]
RESULTS, BENCHMARKS = ROOT / "results", ROOT / "benchmarks" / "results"


def findings(folder, **changes):
    """Verdicts by claim on a copy in `folder`; files change by functions of their contents."""
    places = folder / "results", folder / "benchmarks"
    for source, place in zip((RESULTS, BENCHMARKS), places, strict=True):
        shutil.copytree(source, place)
    for name, change in changes.items():
        (path,) = folder.glob(f"*/{name}.json")
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
    return {finding.claim: finding.verdict for finding in claims.findings([], *places)}


def verdict(found, start):
    """That of the claim which starts so."""
    return next(verdict for claim, verdict in found.items() if claim.startswith(start))
