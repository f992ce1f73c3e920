"""What a compiled program sends between devices: its collectives, and those inside its loops."""

import re
from collections import Counter

COLLECTIVE = re.compile(
    r"= (?:\(.*?\)|\S+) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)"
    r"(?:-start)?\("
)
CALLED = re.compile(r"(?:to_apply|calls|body|condition|\w+_computation)=%?([\w.-]+)")
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
BODY = re.compile(r"body=%?([\w.-]+)")


def count(program: str) -> tuple[Counter, Counter]:
    """Of an optimised HLO text: all collectives by kind, and those in bodies of loops."""
    lines = _computations(program)
    inside, to_visit = set(), [name for text in lines.values() for name in BODY.findall(text)]
    while to_visit:
        name = to_visit.pop()
        if name not in inside:
            inside.add(name)
            branches = ",".join(BRANCHES.findall(lines[name])).replace("%", "")
            to_visit += CALLED.findall(lines[name])
            to_visit += [branch.strip() for branch in branches.split(",") if branch.strip()]
    kinds = {name: Counter(COLLECTIVE.findall(text)) for name, text in lines.items()}
    total = sum(kinds.values(), Counter())
    return total, sum((kinds[name] for name in inside), Counter())


def _computations(program):
    """The text of each computation, by its name."""
    found, name = {}, None
    for line in program.splitlines():
        head = re.match(r"(?:ENTRY )?%?([\w.-]+) \(.*\{$", line)
        if head:
            name = head[1]
            found[name] = ""
        elif name and line.startswith("}"):
            name = None
        elif name:
            found[name] += line + "\n"
    return found
