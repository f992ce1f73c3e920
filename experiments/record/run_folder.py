"""What a run leaves in its folder: config.json, metrics.jsonl, and the last epoch's checkpoint."""

import contextlib
import fcntl
import json
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
    kept, asked = _flat(found), _flat(config)
    for name, value in asked.items():
        if kept.get(name) != value:
            raise UserError(
                f"--workdir={workdir} holds a run with {name} {kept.get(name)}, not {value}; "
                "name another."
            )


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    """Nested settings by names with dots."""
    found = {}
    for name, value in config.items():
        inner = _flat(value) if isinstance(value, dict) else {"": value}
        found |= {f"{name}.{key}".rstrip("."): each for key, each in inner.items()}
    return found


def save(workdir: Path, tree: Any, epochs: list[dict[str, Any]]) -> None:
    """Keeps the state after the last of `epochs` and the metrics of them all, in one checkpoint.

    metrics.jsonl is written from it, so the two cannot disagree for longer than that takes.
    """
    with _checkpoints(workdir) as manager:
        kept = {
            "state": ocp.args.StandardSave(tree),
            "epochs": ocp.args.JsonSave({"epochs": epochs}),
        }
        manager.save(len(epochs), args=ocp.args.Composite(**kept))
    write_metrics(workdir, epochs)


def restore(workdir: Path, like: Any) -> tuple[Any, list[dict[str, Any]]]:
    """The state and the metrics that were saved last; `like` and no metrics where none were.

    metrics.jsonl is written again from the checkpoint.

    Raises:
      UserError: the checkpoint is damaged, or is missing beside a metrics.jsonl.
    """
    state, epochs = _read_checkpoint(workdir, like)
    if epochs:
        write_metrics(workdir, epochs)
    elif (workdir / METRICS).exists():
        raise UserError(f"{workdir} holds {METRICS} without a checkpoint; name another --workdir.")
    return state, epochs


def config(workdir: Path) -> dict[str, Any]:
    """What `begin` wrote.

    Raises:
      UserError: there is no run, or it is damaged.
    """
    path = workdir / CONFIG
    try:
        return dict(read_json(path))
    except OSError:
        raise UserError(f"{workdir} holds no run: there is no {CONFIG}.") from None
    except (ValueError, TypeError):
        raise UserError(f"{path} is damaged.") from None


def saved(workdir: Path) -> dict[str, Any] | None:
    """The state that was saved last, its named tuples as dicts; None where none was.

    Nothing is written.

    Raises:
      UserError: the checkpoint is damaged.
    """
    if not (workdir / CHECKPOINTS).is_dir():
        return None
    return _read_checkpoint(workdir, None, read_only=True)[0]


def _read_checkpoint(
    workdir: Path, like: Any, *, read_only: bool = False
) -> tuple[Any, list[dict[str, Any]]]:
    """State and metrics; `like` and no metrics where there is no checkpoint."""
    state, epochs, fault = like, [], None
    with _checkpoints(workdir, read_only) as manager:  # not left open: orbax ends badly
        epoch = manager.latest_step()
        try:
            if epoch is not None:
                kept = {"state": ocp.args.StandardRestore(like), "epochs": ocp.args.JsonRestore()}
                restored = manager.restore(epoch, args=ocp.args.Composite(**kept))
                state, epochs = restored["state"], restored["epochs"]["epochs"]
        except Exception as error:
            fault = error
    if fault is not None:
        raise UserError(
            f"the checkpoint in {workdir / CHECKPOINTS} is damaged ({type(fault).__name__}); "
            f"remove {workdir} to start again."
        ) from fault
    return state, epochs


@contextlib.contextmanager
def alone(workdir: Path) -> Iterator[None]:
    """Locks a folder against other processes, until the block or the process ends.

    Raises:
      UserError: another process holds it.
    """
    with open(workdir / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another process runs in --workdir={workdir}.") from None
        yield


@contextlib.contextmanager
def still(workdir: Path) -> Iterator[None]:
    """For reading: makes sure that no process goes on in a folder, until the block ends.

    Raises:
      UserError: there is no run, or a process holds it.
    """
    try:
        lock = open(workdir / "lock")  # noqa: SIM115
    except OSError:
        raise UserError(f"{workdir} holds no run that has begun.") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"the run in {workdir} goes on; wait for its end.") from None
        yield


def write_metrics(workdir: Path, lines: list[dict[str, Any]]) -> None:
    """Writes metrics.jsonl: a line for each epoch, and for the result of a finished run."""
    text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
    replace(workdir / METRICS, text)


def epochs(workdir: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl that tell of an epoch."""
    lines = (workdir / METRICS).read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, lines) if "epoch" in line]


def _checkpoints(workdir: Path, read_only: bool = False) -> ocp.CheckpointManager:
    """One checkpoint, written before its save returns; what a killed save left is cleaned up."""
    options = ocp.CheckpointManagerOptions(
        max_to_keep=1,
        enable_async_checkpointing=False,
        cleanup_tmp_directories=not read_only,
        create=not read_only,
    )
    return ocp.CheckpointManager((workdir / CHECKPOINTS).absolute(), options=options)
