"""The committed results, and what is made of them when one is changed."""

import json
import shutil
from pathlib import Path

from experiments.claims.sections import sections

ROOT = Path(__file__).parents[2]
RESULTS, BENCHMARKS = ROOT / "results", ROOT / "benchmarks" / "results"


def findings(folder, **changes):
    """Verdicts by claim and case on a copy in `folder`; files change by functions of contents."""
    places = folder / "results", folder / "benchmarks"
    for source, place in zip((RESULTS, BENCHMARKS), places, strict=True):
        shutil.copytree(source, place)
    for name, change in changes.items():
        (path,) = folder.glob(f"*/{name}.json")
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
    found = [f for section in sections([], *places).values() for f in section.findings]
    return {(finding.claim, finding.case): finding.verdict for finding in found}


def verdict(found, claim, case=""):
    """Of the claim and the case that start so: the verdict, or all of them where they differ."""
    starts = lambda key: key[0].startswith(claim) and key[1].startswith(case)
    verdicts = [verdict for key, verdict in found.items() if starts(key)]
    assert verdicts, (claim, case)
    return verdicts[0] if len(set(verdicts)) == 1 else verdicts
