"""Which error reaches which step."""

import pytest

from experiments import diagram

pytestmark = pytest.mark.standard


def test_diagram(study, exit_of, tmp_path):
    found, out = study(diagram)
    drawn = found["diagram"]["drawn"]
    assert [(row["style"], row["horizon"], row["stride"], row["seq_len"]) for row in drawn] == [
        ("true", 3, 1, 6),
        ("semi", 3, 2, 6),
        ("epochwise", 3, 3, 6),
    ]
    band = [[t - s if 0 <= t - s < 3 else -1 for s in range(6)] for t in range(6)]
    blocks = [[t - s if s <= t and t // 3 == s // 3 else -1 for s in range(6)] for t in range(6)]
    assert drawn[0]["lag"] == band and drawn[2]["lag"] == blocks
    true, epochwise = (row["reach"] for row in found["diagram"]["counted"])
    assert true == {str(k): 1 for k in range(1, 7)} | {"7": 43}
    assert epochwise == {str(k): 7 for k in range(1, 8)}
    assert "1, 1, 1, 1, 1, 1, 43 reach 1, 2, 3, 4, 5, 6, 7 steps back" in out
    assert (tmp_path / "diagram.png").stat().st_size > 1000
    assert (tmp_path / "diagram.svg").read_text().startswith("<?xml")
    assert "--bptt=auto is for training" in exit_of(diagram, "--bptt=auto")
    found, _ = study(diagram, "--bptt=4", "--stride=3", "--seq_len=20")
    assert [row["stride"] for row in found["diagram"]["drawn"]] == [1, 3, 4]


def test_diagram_of_what_cannot_be_is_refused(exit_of, tmp_path):
    said = "error: --bptt=7 is longer than --seq_len=3: no error reaches that far back."
    assert exit_of(diagram, "--bptt=7", "--seq_len=3") == said
    for stride in (1, 4):
        said = exit_of(diagram, "--bptt=4", f"--stride={stride}")
        assert said.startswith(f"error: --stride={stride} is not between 1 and --bptt=4;")
    assert not (tmp_path / "diagram.json").exists()
