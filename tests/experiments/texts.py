"""Texts to train on: a tiny one, with flags of a tiny model; the Penn Treebank if it is there."""

import os
from pathlib import Path

import pytest

from experiments.text import data

PTB = Path(os.environ.get("PTB_DIR") or Path(__file__).parents[3] / "shared" / "ptb")
needs_ptb = pytest.mark.skipif(  # with $REQUIRE_PTB they run, and fail where it is absent
    data.find_splits(PTB) is None and not os.environ.get("REQUIRE_PTB"),
    reason="no Penn Treebank in $PTB_DIR or ../shared/ptb",
)
TEXTS = {"train": "a b a b c\nb c a\n" * 60, "valid": "a c b\n" * 30, "test": "b a\n" * 30}


TINY = ["--batch_size=4", "--state_size=6", "--embed_size=5", "--num_epochs=2", "--bptt=3"]


def write(folder, texts, prefix=""):
    folder.mkdir(parents=True, exist_ok=True)
    for split, text in texts.items():
        (folder / f"{prefix}{split}.txt").write_text(text)
    return folder
