"""Times one step (loss and gradients) of the language model, ours beside other frameworks.

    python -m benchmarks.step_time

Every variant's loss and gradients are compared with ours first; if one is off, nothing is timed and
the command ends with its name. Then all variants are timed in alternation: in each round every one
once, in a new order. A few minutes on two idle cores; `make peers` installs PyTorch, TensorFlow.
The numbers and the chart go into --out.
"""

import contextlib
import random
import statistics
import tempfile
from pathlib import Path

from absl import flags

from benchmarks import agreement, problem, step_time_chart
from benchmarks.client import Peer, available
from benchmarks.worker import THREADS
from experiments.record import alternation, launch, results

flags.declare_key_flag("out")
flags.adopt_module_key_flags(alternation)
flags.DEFINE_integer("repeats", 3, "Steps of each variant in a round.", lower_bound=1)

DEFAULTS = {"rounds": 7}
SEED = 0  # of weights, words and orders


def main() -> None:
    """Checks, times, prints, writes."""
    values, out = flags.FLAGS, results.folder()
    report = measure(values.rounds, values.repeats, SEED)
    report = results.write(out, "step_time", report)
    step_time_chart.draw(report, out / "step_time.png")


def measure(rounds: int, repeats: int, seed: int) -> dict:
    """Checks and times every variant of every peer at all settings; JSON-like."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        peers = []
        for name in available():
            peers.append(Peer(name))
            stack.callback(peers[-1].stop)
        agreement.load(peers, problem.TINY, seed, folder)
        errors = {"tiny": agreement.check(peers, folder)}
        settings = {}
        for name, setting in problem.SETTINGS.items():
            agreement.load(peers, setting, seed, folder)
            errors[name] = agreement.check(peers, folder)
            times = alternate(peers, rounds, repeats, random.Random(seed))
            settings[name] = {**setting._asdict(), "variants": summary(times)}
            print(table(name, setting, settings[name]["variants"]))
        worst = max(error for found in errors.values() for error in found.values())
        print(f"\nLargest difference from ours: {worst:.1e} of each array's max-norm.")
        return {
            "peer_versions": {peer.name: peer.versions for peer in peers},
            "threads": {peer.name: peer.threads for peer in peers},
            "rounds": rounds,
            "repeats": repeats,
            "seed": seed,
            "largest_errors": errors,
            "settings": settings,
        }


def alternate(peers: list[Peer], rounds: int, repeats: int, rng: random.Random) -> dict:
    """Milliseconds of every step by (peer, variant), [rounds][repeats]."""
    variants = [(peer, variant) for peer in peers for variant in peer.variants]
    times = {(peer.name, variant): [] for peer, variant in variants}
    for _ in range(rounds):
        for peer, variant in rng.sample(variants, len(variants)):
            seconds = peer.ask("time", variant=variant, repeats=repeats)["seconds"]
            times[peer.name, variant].append([round(1e3 * s, 3) for s in seconds])
    return times


def summary(times: dict) -> list[dict]:
    """Quartiles of the rounds' medians, and of their ratios to ours of the same style and round."""
    medians = {key: [statistics.median(r) for r in rounds] for key, rounds in times.items()}
    rows = []
    for (peer, variant), values in medians.items():
        ours = medians["ours", agreement.style(variant)]
        rows.append(
            {
                "peer": peer,
                "variant": variant,
                "milliseconds": alternation.quartiles(values),
                "ratio": alternation.quartiles([a / b for a, b in zip(values, ours, strict=True)]),
                "rounds": times[peer, variant],
            }
        )
    return rows


def table(name: str, setting: problem.Setting, rows: list[dict]) -> str:
    """One setting's table: medians, with the quartiles in brackets."""
    sizes = ", ".join(f"{field} {size}" for field, size in setting._asdict().items())
    lines = [f"\n{name}: {sizes}", f"{'peer':<18}{'variant':<14}{'ms':>24}{'times ours':>22}"]
    for row in sorted(rows, key=lambda row: agreement.style(row["variant"])):
        low, median, high = row["milliseconds"]
        ms = f"{median:.1f} ({low:.1f}-{high:.1f})"
        low, median, high = row["ratio"]
        ratio = f"{median:.2f} ({low:.2f}-{high:.2f})"
        lines.append(f"{row['peer']:<18}{row['variant']:<14}{ms:>24}{ratio:>22}")
    return "\n".join(lines)


if __name__ == "__main__":
    launch.run(main, num_cores=THREADS)
