"""Soaks the main job: a text of 100 million words, a checkpoint a minute, a kill -9 every five.

    python -m benchmarks.soak --minutes=120

The text is random words of Zipf's law. After each kill the same command goes on in the same folder.
Looked at are the memory of each process, and the words per second between two checkpoints, relative
to a fixed product of matrices that is timed beside them. The numbers go into --out; the text and
the run need 2 GB in --scratch.
"""

import contextlib
import itertools
import operator
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.record import kept, launch, results, run_folder
from experiments.record.checkpoints import CHECKSUMS
from experiments.record.errors import UserError

flags.declare_key_flag("out")
flags.declare_key_flag("scratch")
flags.DEFINE_integer("minutes", 120, "How long to soak.", lower_bound=10)
flags.DEFINE_integer("million_words", 100, "Words of the text, in millions.", lower_bound=1)

KILL_SECONDS, SAMPLE_SECONDS, FIRST_CHECKPOINT_SECONDS = 300, 10, 1800
CHECKPOINT_SECONDS, CHECKPOINT_UPDATES = 60, 1600  # about as many a minute
BATCH, STEPS = 32, 20
SAID = "minutes", "kills", "updates", "resident_mb", "relative_rate_last_over_first"
VOCAB, WORDS_OF_LINE, PROBES, ENDS = 10_000, 25, 10, 10
DEFAULTS = {"scratch": "runs/soak"}
JOB = "experiments.ptb", "--style=epochwise", f"--bptt={STEPS}", f"--batch_size={BATCH}"


class Sample(NamedTuple):
    """What is seen of the job at one time."""

    seconds: float  # since the soak began
    life: int  # of which process, from 0
    resident_mb: float
    update: int  # of the newest checkpoint
    written: float  # when it was, in seconds since the epoch
    probe: float  # seconds of the product, the median of ten


def main() -> None:
    """Soaks, prints, writes."""
    values = flags.FLAGS
    out, scratch = results.folder(), kept.folder()
    text = scratch / f"words-{values.million_words}.txt"
    if not text.exists():
        write_words(text, values.million_words)
    for samples in soak(text, scratch / "run", 60 * values.minutes):
        report = {"million_words": values.million_words} | summary(samples)
        results.write(out, "soak", report)
        print(", ".join(f"{name.replace('_', ' ')} {report[name]}" for name in SAID), flush=True)


def write_words(path: Path, millions: int) -> None:
    """Random words, `w0` the most frequent, in lines of 25."""
    rng = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(VOCAB)])
    prob = 1.0 / np.arange(1, VOCAB + 1)
    with open(f"{path}.new", "w") as file:
        for _ in range(millions):
            drawn = words[rng.choice(VOCAB, 10**6, p=prob / prob.sum())]
            for line in drawn.reshape(-1, WORDS_OF_LINE):
                file.write(" ".join(line) + "\n")
    os.replace(f"{path}.new", path)


def soak(text: Path, workdir: Path, seconds: float) -> Iterator[list[Sample]]:
    """All samples of the job so far, each time it is killed, and at the end.

    The clock starts at the first checkpoint, since the text has to be tokenised first.

    Raises:
      UserError: the job ended by itself.
    """
    probe, samples, began = make_probe(), [], None
    for life in itertools.count():
        with job(text, workdir, workdir.parent / "job.log") as process:
            waited, started = time.monotonic(), None
            while True:
                time.sleep(SAMPLE_SECONDS)
                if process.poll() is not None:
                    raise UserError(f"the job ended with {process.returncode}; see job.log.")
                check_in_first_epoch(workdir)
                found = newest(workdir)
                now = time.monotonic()
                if started is None and now - waited > FIRST_CHECKPOINT_SECONDS:
                    raise UserError("the job writes no checkpoint.")
                if found is None or (samples and found[0] <= samples[-1].update and not started):
                    continue  # tokenises, compiles, or does again what the kill has cost
                started, began = started or now, began or now
                at = now - began
                samples.append(Sample(at, life, resident(process.pid), *found, probe()))
                if at > seconds or (
                    now - waited > KILL_SECONDS and now - started > 2 * CHECKPOINT_SECONDS
                ):
                    break
        yield samples
        if samples[-1].seconds > seconds:
            return


@contextlib.contextmanager
def job(text: Path, workdir: Path, log: Path) -> Iterator[subprocess.Popen]:
    """The main job, which kill -9 ends with the block."""
    command = [sys.executable, "-m", *JOB, f"--text={text}", f"--workdir={workdir}"]
    command += [f"--checkpoint_every={CHECKPOINT_UPDATES}", "--num_epochs=1000"]
    with open(log, "a") as file:
        process = subprocess.Popen(command, cwd=results.ROOT, stdout=file, stderr=file)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def newest(workdir: Path) -> tuple[int, float] | None:
    """Number of the newest checkpoint, and when it was written."""
    sums = list((workdir / run_folder.CHECKPOINTS).glob(f"*/{CHECKSUMS}"))
    with contextlib.suppress(FileNotFoundError):  # removed since
        return max((int(path.parent.name), path.stat().st_mtime) for path in sums) if sums else None
    return newest(workdir)


def check_in_first_epoch(workdir: Path) -> None:
    """Makes sure that the job is in its first epoch, where a checkpoint's number counts updates.

    Raises:
      UserError: that epoch has ended.
    """
    if (workdir / run_folder.METRICS).exists() and run_folder.epochs(workdir):
        raise UserError("the job has ended an epoch; soak with more --million_words.")


def resident(pid: int) -> float:
    """Megabytes of a process's resident memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def make_probe():
    """A call that times a product ten times, and returns the median."""
    matrix = jnp.ones((768, 768))
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(matrix))

    def seconds():
        began = time.perf_counter()
        jax.block_until_ready(product(matrix))
        return time.perf_counter() - began

    return lambda: statistics.median(seconds() for _ in range(PROBES))


def summary(samples: list[Sample]) -> dict[str, Any]:
    """What the samples say; JSON-like."""
    lives = [list(group) for _, group in itertools.groupby(samples, lambda s: s.life)]
    resident_mb = [life[-1].resident_mb for life in lives]  # when each process is killed
    rates = list(itertools.chain.from_iterable(map(words_per_second, lives)))
    relative = [rate * probe for rate, probe in rates]
    ends = min(ENDS, len(rates) // 2)
    change = None  # as long as there is nothing to compare
    if ends:
        of_ends = (statistics.median(part) for part in (relative[-ends:], relative[:ends]))
        change = round(operator.truediv(*of_ends), 3)
    return {
        "minutes": round(samples[-1].seconds / 60, 1),
        "kills": len(lives) - 1,
        "updates": samples[-1].update - samples[0].update,
        "checkpoints_seen": len({sample.update for sample in samples}),
        "resident_mb": resident_mb,
        "words_per_second": [round(rate) for rate, _ in rates],
        "probe_milliseconds": [round(1e3 * probe, 2) for _, probe in rates],
        "relative_rate_last_over_first": change,
    }


def words_per_second(life: list[Sample]) -> list[tuple[float, float]]:
    """Between two checkpoints of one process, each beside the median of the probes meanwhile."""
    found = []
    first = [next(group) for _, group in itertools.groupby(life, lambda s: s.update)]
    for one, other in itertools.pairwise(first):
        between = [s.probe for s in life if one.seconds <= s.seconds <= other.seconds]
        rate = (other.update - one.update) * BATCH * STEPS / (other.written - one.written)
        found.append((rate, statistics.median(between)))
    return found


if __name__ == "__main__":
    launch.run(main)
