"""Writes the page about the cost of several devices from the numbers of `benchmarks.devices`.

    python -m benchmarks.devices_page --results=benchmarks/results --out=docs

Measures nothing. The test suite fails where the committed page is not what the numbers say.
"""

import json
import string
from pathlib import Path

from absl import flags

from benchmarks.devices import MACHINES
from experiments.claims.tables import table
from experiments.record import files, launch, results
from experiments.record.errors import UserError

flags.declare_key_flag("results")
flags.declare_key_flag("out")

SOURCE = "benchmarks/results/devices.json"
TEMPLATE = Path(__file__).parent / "devices_template.md"


def text(found: dict, measured: dict) -> str:
    """The page.

    Args:
      found: what `benchmarks.devices` has written.
      measured: what its constants were fitted to.
    """
    case = found["cases"]["true"]
    network = found["network"]
    values = {key: f"{case[key]:,}" for key in ("state", "batch", "steps", "horizon")}
    values |= {
        "source": SOURCE,
        "longest": f"{max(row['steps'] for row in measured['length']):,}",
        "latency": f"{1e6 * network['seconds']:g}",
        "bandwidth": f"{network['bytes_per_second'] / 1e9:g}",
        "parameters": f"{found['parameters']:,}",
        "counted": _counted(found),
        "constants": _constants(found["machines"]),
        "estimated": "\n\n".join(_estimated(*item) for item in found["machines"].items()),
        "data": _data(found["data"]),
    }
    return string.Template(TEMPLATE.read_text()).substitute(values)


def _counted(found):
    rows = []
    for style, counted in found["counted"].items():
        stride = str(found["cases"][style]["stride"])
        for row in counted:
            sizes = row["message_bytes"], row["sum_bytes"]
            messages, summed = (f"{size / 1e3:,.0f} kB" for size in sizes)
            held = f"{row['bytes_held'] / 1e6:,.1f} MB"
            numbers = f"{row['devices']:,}", str(row["messages"]), messages, summed, held
            rows.append([f"{style}, stride {stride}", *numbers])
    head = ["style", "devices", "messages in the backward", "sent in them", "summed", "held"]
    return table(head, rows)


def _constants(machines):
    rows = [
        [
            name,
            *(f"{1e6 * seconds:.3g}" for seconds in machine["seconds"].values()),
            f"{100 * machine['largest_error']:.0f} %",
        ]
        for name, machine in machines.items()
    ]
    return table(["µs", "fixed", "step", "sweep", "row", "largest error of the fit"], rows)


def _estimated(name, machine):
    rows = [
        [f"{row['devices']:,}", *(f"{row[part]:,.2f}" for part in row if part != "devices")]
        for row in machine["milliseconds"]
    ]
    parts = ["forward", "waiting for turns", "backward", "messages", "sums", "in all"]
    return table([f"{name}: devices", *(f"{part}, ms" for part in parts)], rows)


def _data(rows):
    return table(
        ["devices", "sent by each, MB", "ms"],
        [
            [f"{r['devices']:,}", f"{r['bytes'] / 1e6:.1f}", f"{r['milliseconds']:.2f}"]
            for r in rows
        ],
    )


def read(folder: Path) -> tuple[dict, dict]:
    """What `text` takes.

    Raises:
      UserError: it is not there.
    """
    try:
        names = "devices.json", next(iter(MACHINES.values()))
        found, measured = (json.loads((folder / name).read_text()) for name in names)
    except (OSError, ValueError) as error:
        raise UserError(f"--results={folder}: {error}.") from None
    return found, measured


def main() -> None:
    """Writes the page."""
    path = results.folder() / "devices_cost.md"
    files.replace(path, text(*read(results.finished())))
    print(f"written: {path}")


if __name__ == "__main__":
    launch.run(main)
