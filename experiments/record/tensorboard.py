"""The epochs of a run for TensorBoard, beside its metrics.jsonl."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

TAGS = {
    "train_loss": "loss/train",
    "valid_loss": "loss/valid",
    "tokens_per_second": "tokens_per_second",
}


@contextlib.contextmanager
def log(folder: Path, epochs: list[dict[str, Any]]) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Writes the epochs that are finished into `folder`, and gives what writes a further one.

    What an earlier start wrote there is hidden from TensorBoard, so that it shows each epoch once.
    """
    with SummaryWriter(str(folder), purge_step=1) as writer:

        def write(epoch: dict[str, Any]) -> None:
            for name, tag in TAGS.items():
                writer.add_scalar(tag, epoch[name], epoch["epoch"])
            writer.flush()

        for epoch in epochs:
            write(epoch)
        yield write
