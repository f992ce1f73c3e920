"""What a run leaves in its folder: config.json, metrics.jsonl, and the last epoch's checkpoint."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from experiments.record.environment import environment
from experiments.record.errors import UserError
from experiments.record.files import read_json, replace

CONFIG, METRICS, CHECKPOINTS = "config.json", "metrics.jsonl", "checkpoints"
JAX_CONFIG = ("jax_enable_x64", "jax_default_matmul_precision", "jax_default_prng_impl")


def begin(workdir: Path, config: dict[str, Any]) -> None:
    """Creates `workdir` with config.json, or makes sure that it holds a run of the same settings.

    Args:
      workdir: the folder.
      config: JSON-like settings; `environment()` is written beside them and not compared.

    Raises:
      UserError: it is a file, cannot be written, or holds a run with other settings.
    """
    path = workdir / CONFIG
    config = config | {"jax_config": {name: getattr(jax.config, name) for name in JAX_CONFIG}}
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            for other in (METRICS, CHECKPOINTS):
                if (workdir / other).exists():
                    raise UserError(
                        f"{workdir} holds {other} without {CONFIG}; name another folder."
                    )
            replace(path, json.dumps(config | environment(), indent=2) + "\n")
            return
        found = dict(read_json(path))
    except FileExistsError:
        raise UserError(f"--workdir={workdir} is a file; name a folder.") from None
    except OSError as error:
        raise UserError(f"--workdir={workdir} cannot be used: {error.strerror}.") from None
    except (ValueError, TypeError):
        raise UserError(f"{path} is damaged; name another --workdir, or remove it.") from None
    for name, value in config.items():
        if found.get(name) != value:
            raise UserError(
                f"--workdir={workdir} holds a run with {name} {found.get(name)}, not {value}; "
                "name another."
            )


def save(workdir: Path, epoch: int, tree: Any) -> None:
    """Keeps a pytree of arrays as the state after `epoch`, in place of the one before."""
    with _checkpoints(workdir) as manager:
        manager.save(epoch, args=ocp.args.StandardSave(tree))


def restore(workdir: Path, like: Any) -> Any:
    """The pytree that was saved last, or `like` itself where none was.

    A line of metrics.jsonl that a stop before the save left over is dropped.

    Raises:
      UserError: what was saved is damaged, or is not what metrics.jsonl tells of.
    """
    metrics = workdir / METRICS
    lines = metrics.read_bytes().splitlines() if metrics.exists() else []
    restored, epoch, fault = like, 0, None
    with _checkpoints(workdir) as manager:  # not left open: orbax ends badly
        epoch = manager.latest_step() or 0
        try:
            if epoch:
                restored = manager.restore(epoch, args=ocp.args.StandardRestore(like))
        except Exception as error:
            fault = error
    if fault is not None:
        raise UserError(
            f"the checkpoint in {workdir / CHECKPOINTS} is damaged ({type(fault).__name__}); "
            f"remove {workdir} to start again."
        ) from fault
    told = [_epoch(line) for line in lines[:epoch]]
    if len(lines) > epoch + 1 or told != list(range(1, epoch + 1)):
        raise UserError(
            f"{metrics} and the checkpoint beside it, of epoch {epoch}, do not belong together; "
            "name another --workdir."
        )
    if len(lines) > epoch:
        replace(metrics, "".join(line.decode() + "\n" for line in lines[:epoch]))
    return restored


@contextlib.contextmanager
def alone(workdir: Path) -> Iterator[None]:
    """Holds a folder against other processes, as long as the block or the process lasts.

    Raises:
      UserError: another process holds it.
    """
    with open(workdir / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another process runs in --workdir={workdir}.") from None
        yield


def append(workdir: Path, metrics: dict[str, Any]) -> None:
    """Adds one line to metrics.jsonl and sees it to the disk."""
    with open(workdir / METRICS, "a", encoding="utf-8") as file:
        file.write(json.dumps(metrics, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def epochs(workdir: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl that tell of an epoch."""
    lines = (workdir / METRICS).read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, lines) if "epoch" in line]


def _checkpoints(workdir: Path) -> ocp.CheckpointManager:
    """One checkpoint, written before its save returns; what a killed save left is cleaned up."""
    options = ocp.CheckpointManagerOptions(
        max_to_keep=1, enable_async_checkpointing=False, cleanup_tmp_directories=True
    )
    return ocp.CheckpointManager((workdir / CHECKPOINTS).absolute(), options=options)


def _epoch(line: bytes) -> int | None:
    """The epoch that a line of metrics.jsonl tells of."""
    try:
        return json.loads(line)["epoch"]
    except (ValueError, TypeError, KeyError):
        return None
