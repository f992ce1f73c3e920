"""The page about the cost of several devices is what was counted; the model of their time fits."""

import json
from pathlib import Path

import commands
import pytest

from benchmarks import devices, devices_page
from experiments.record.errors import UserError

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.standard


def test_the_page_is_what_the_numbers_say():
    """If not: `python -m benchmarks.devices_page --results=benchmarks/results --out=docs`."""
    text = devices_page.text(*devices_page.read(ROOT / "benchmarks" / "results"))
    assert (ROOT / "docs" / "devices_cost.md").read_text() == text


def test_missing_numbers_are_named(tmp_path):
    with pytest.raises(UserError, match=r"devices.json"):
        devices_page.read(tmp_path)


@pytest.mark.parametrize("num_devices, messages", [(1, 0), (4, 3), (8, 6)])
def test_compiled_program_sends_the_steps_that_errors_cross(num_devices, messages):
    """Three arrays of horizon - 1 steps, from two devices where one has fewer."""
    case = devices.CASES["true"]._replace(batch=2, steps=40, state=3, horizon=8)
    found = devices.counted(case, num_devices)
    assert found["messages"] == messages
    crossed = 7 if num_devices > 1 else 0
    assert found["message_bytes"] == 3 * 4 * crossed * case.batch * case.state
    assert found["sum_bytes"] == 4 * (case.state**2 + case.batch * case.state)


@pytest.mark.parametrize(
    "machine", [devices.Machine(2e-4, 9e-6, 1e-5, 0.0), devices.Machine(0.0, 4e-5, 0.0, 7e-6)]
)
def test_fit_finds_the_constants_of_a_machine(machine):
    def row(steps, horizon):
        seconds = machine.fixed + machine.step * steps + machine.sweep * horizon
        seconds += machine.row * horizon * steps
        return {"steps": steps, "horizon": horizon, "truncated": {"milliseconds": 1e3 * seconds}}

    measured = {"length": [row(T, 20) for T in (40, 160, 640)]}
    measured |= {"horizon": [row(160, h) for h in (2, 10, 40)]}
    found, error = devices.fitted(measured)
    assert found == pytest.approx(machine, rel=1e-6, abs=1e-12) and error < 1e-6


def test_devices_share_the_backward_alone():
    machine, case = devices.Machine(0.0, 1e-3, 0.0, 1e-3), devices.CASES["true"]
    counted = {"devices": 1, "messages": 0, "message_bytes": 0, "sum_bytes": 0}
    one, eight = (devices.estimated(machine, case, counted | {"devices": n}) for n in (1, 8))
    assert eight["forward"] == one["forward"]
    assert eight["backward"] == pytest.approx(one["backward"] / 8)
    assert one["total"] == pytest.approx(1e3 * (1e-3 + 20e-3) * case.steps)


def test_counts_are_committed_for_every_case():
    found = json.loads((ROOT / devices_page.SOURCE).read_text())["counted"]
    assert found.keys() == devices.CASES.keys()
    for rows in found.values():
        assert [row["devices"] for row in rows] == list(devices.DEVICES)


def test_measurements_that_are_damaged_are_named(tmp_path):
    for path in devices.MACHINES.values():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("{")
    said = commands.exit_of(devices, f"--measured={tmp_path}", f"--out={tmp_path}")
    assert "recurrence.json is damaged; run its command again." in said and "\n" not in said
