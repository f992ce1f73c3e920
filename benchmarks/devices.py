"""Counts what a scan over devices sends, and estimates its time on 8, 64 and 1,024 of them.

    python -m benchmarks.devices

Compiles the gradient of a recurrence for simulated devices that share its steps, and reads off the
compiled program what each device sends and holds; nothing is run. The time is that of a model: its
constants are fitted to what `benchmarks.recurrence` has measured on one device (its JSON files in
--measured), its network is assumed. Half a minute; the numbers go into --out. The page about them
is written by `python -m benchmarks.devices_page`.
"""

import functools
import math
import os
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from benchmarks.recurrence import Case, rnn
from experiments.claims import numbers
from experiments.record import alternation, launch, results
from experiments.record.errors import UserError
from experiments.record.files import user_path
from tbptt_jax import time_sharded_scan

flags.declare_key_flag("out")
flags.DEFINE_string("measured", "benchmarks/results", "Folder of what recurrence has measured.")

CASES = {
    "true": Case("rnn", 32, 10_240, 100, 20),
    "semi-epochwise": Case("rnn", 32, 10_240, 100, 20, 10),
    "epochwise": Case("rnn", 32, 10_240, 100, 20, 20),
}
DEVICES = (1, 8, 64, 1024)
PARAMETERS = 10_000 * 50 + (50 + 100) * 100 + 100 + 100 * 10_000 + 10_000  # the article's model
MACHINES = {"NVIDIA H200": "h200/recurrence.json", "two CPU cores": "recurrence.json"}


class Network(NamedTuple):
    """What a message costs."""

    seconds: float
    bytes_per_second: float


ASSUMED = Network(10e-6, 50e9)  # a 400 Gb/s link for each device


class Machine(NamedTuple):
    """Seconds of a gradient on one device: fixed + step T + sweep h + row h T."""

    fixed: float
    step: float
    sweep: float
    row: float


def fitted(measured: dict) -> tuple[Machine, float]:
    """The machine that fits the measured lengths and horizons best, and its largest relative error.

    Constants are not negative: those that would be are left out.
    """
    found = [row for part in ("length", "horizon") for row in measured[part]]
    seconds = np.array([row["truncated"]["milliseconds"] / 1e3 for row in found])
    T, h = (np.array([row[of] for row in found], float) for of in ("steps", "horizon"))
    terms = np.stack([np.ones_like(T), T, h, h * T], axis=1) / seconds[:, None]
    used = np.ones(4, bool)
    while True:
        constants = np.zeros(4)
        constants[used] = np.linalg.lstsq(terms[:, used], np.ones_like(T))[0]
        if constants.min() >= 0.0:
            return Machine(*constants.tolist()), float(np.abs(terms @ constants - 1.0).max())
        used &= constants > 0.0


class Sent(NamedTuple):
    """What a device sends: messages to one other device, and arrays summed over all."""

    messages: int
    message_bytes: int
    sums: int
    sum_bytes: int


KINDS = re.compile(r"= (.*?) (collective-permute|all-reduce)(?:-start)?\(")
SHAPE = re.compile(r"f32\[([\d,]*)\]")


def sent(program: str) -> Sent:
    """By an optimised HLO text, each loop's once."""
    found = {"collective-permute": [], "all-reduce": []}
    for shapes, kind in KINDS.findall(program):
        for shape in SHAPE.findall(shapes):
            found[kind].append(4 * math.prod(map(int, filter(None, shape.split(",")))))
    messages, sums = found.values()
    return Sent(len(messages), sum(messages), len(sums), sum(sums))


def counted(case: Case, num_devices: int) -> dict:
    """What each of so many simulated devices sends in the backward, and holds."""
    devices = jax.devices("cpu")[:num_devices]
    mesh = jax.make_mesh((num_devices,), ("time",), axis_types=(AxisType.Auto,), devices=devices)
    kernel = jax.ShapeDtypeStruct((case.state, case.state), jnp.float32)
    init = jax.ShapeDtypeStruct((case.batch, case.state), jnp.float32)
    along_time = NamedSharding(mesh, PartitionSpec("time"))
    xs = jax.ShapeDtypeStruct((case.steps, *init.shape), jnp.float32, sharding=along_time)

    def ys_of(args):
        kernel, init, xs = args
        step = functools.partial(rnn, kernel)
        schedule = {"horizon": case.horizon, "stride": case.stride}
        return time_sharded_scan(step, init, xs, mesh=mesh, axis="time", **schedule)[1]

    def gradient(args, errors):
        return jax.vjp(ys_of, args)[1](errors)

    args = kernel, init, xs
    compiled: Any = jax.jit(gradient).lower(args, xs).compile()
    forward: Any = jax.jit(ys_of).lower(args).compile()
    both, memory = sent(compiled.as_text()), compiled.memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    backward = Sent(*(b - f for b, f in zip(both, sent(forward.as_text()), strict=True)))
    return {"devices": num_devices, "bytes_held": held} | backward._asdict()


def estimated(machine: Machine, case: Case, of_case: dict) -> dict:
    """Milliseconds of a gradient on so many devices, by part.

    Forward, devices take turns: all that grows with the number of steps alone is counted there,
    which is too much, since linearising the steps and the parameters' gradient are shared. A sum
    over all devices goes through a tree, and back.
    """
    num = of_case["devices"]
    of_step = 3 * case.batch * case.state * 4  # carry, input and the cotangent of the output
    rows = case.steps / num + of_case["message_bytes"] / of_step
    message = lambda number, size: number * ASSUMED.seconds + size / ASSUMED.bytes_per_second
    carry = case.batch * case.state * 4
    parts = {
        "forward": machine.fixed + machine.step * case.steps,
        "turns": (num - 1) * message(1, carry),
        "backward": (machine.sweep + machine.row * rows) * case.horizon,
        "messages": message(of_case["messages"], of_case["message_bytes"]),
        "sums": summed(num, of_case["sum_bytes"]),
    }
    parts["total"] = sum(parts.values())
    return {"devices": num} | {name: 1e3 * seconds for name, seconds in parts.items()}


def summed(num_devices: int, size: float) -> float:
    """Seconds of a sum over devices."""
    rounds = 2 * math.ceil(math.log2(num_devices))
    return rounds * ASSUMED.seconds + moved(num_devices, size) / ASSUMED.bytes_per_second


def moved(num_devices: int, size: float) -> float:
    """Bytes that each device sends for a sum of arrays of so many."""
    return 2 * size * (num_devices - 1) / num_devices


def over_data(num_devices: int) -> dict:
    """What data parallelism sends for the gradient of the article's language model."""
    size = 4 * PARAMETERS
    of = {"bytes": moved(num_devices, size), "milliseconds": 1e3 * summed(num_devices, size)}
    return {"devices": num_devices} | of


def counts() -> dict[str, list[dict]]:
    """By style and number of devices, from a process with as many simulated ones."""
    return {name: [counted(case, num) for num in DEVICES] for name, case in CASES.items()}


def main() -> None:
    """Counts, estimates, prints, writes."""
    out, folder = results.folder(), user_path(flags.FLAGS.measured)
    found = {}
    for name, path in MACHINES.items():
        if not (folder / path).is_file():
            raise UserError(f"--measured={folder} has no {path}: run benchmarks.recurrence.")
        found[name] = fitted(numbers.read(folder / path))
    simulated = f"--xla_force_host_platform_device_count={max(DEVICES)}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {simulated}"
    report: dict = {"cases": {name: case._asdict() for name, case in CASES.items()}}
    report |= {"network": ASSUMED._asdict(), "counted": alternation.in_new_process(counts)}
    for name, rows in report["counted"].items():
        for row in rows:
            print(f"{name}, {row}", flush=True)
    report["machines"] = {}
    for name, (machine, error) in found.items():
        rows = [estimated(machine, CASES["true"], row) for row in report["counted"]["true"]]
        of_machine = {"seconds": machine._asdict(), "largest_error": error, "milliseconds": rows}
        report["machines"][name] = of_machine
        for row in rows:
            print(f"{name}, {row}", flush=True)
    report |= {"parameters": PARAMETERS, "data": [over_data(num) for num in DEVICES]}
    results.write(out, "devices", report)


if __name__ == "__main__":
    launch.run(main)
