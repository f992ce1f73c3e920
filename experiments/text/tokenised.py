"""The parts of a text as tokens: in memory, or as files in a folder."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.record.errors import UserError
from experiments.record.files import read_json
from experiments.text import token_file, tokens
from experiments.text.token_file import TokenFile

NUM_UNKNOWN = "num_unknown.json"


class Tokenised(NamedTuple):
    """Each part as tokens in 0..V-1."""

    tokens: tokens.Tokens
    parts: Mapping[str, np.ndarray | TokenFile]
    num_unknown: dict[str, int]  # how many tokens of a part became <unk>


def in_memory(texts: dict[str, str], settings: tokens.Settings) -> Tokenised:
    """The tokens of short texts, of which "train" decides what a token is."""
    train = texts["train"]
    found = tokens.fit(settings, [train], len(train.encode()))
    parts, num_unknown = {}, {}
    for name, text in texts.items():
        arrays, unknown = zip(*found.encode([text]), strict=True)
        parts[name] = np.concatenate(arrays).astype(_dtype(found))
        num_unknown[name] = sum(unknown)
    return Tokenised(found, parts, num_unknown)


def write(
    folder: Path,
    parts: Mapping[str, Callable[[str], Iterable[str]]],
    num_bytes: int,
    settings: tokens.Settings,
) -> None:
    """Writes the tokens of texts of any size into a folder.

    Args:
      folder: an empty folder.
      parts: for each part its pieces, read anew for a purpose; "train" decides what a token is.
      num_bytes: of the training part, in UTF-8.
      settings: the kind of tokens.

    Raises:
      UserError: a part has no token.
    """
    found = tokens.fit(settings, parts["train"]("counting"), num_bytes)
    tokens.save(found, settings.kind, folder)
    num_unknown = dict.fromkeys(parts, 0)
    for name, pieces in parts.items():

        def arrays(name=name, pieces=pieces):
            for array, unknown in found.encode(pieces("tokenising")):
                num_unknown[name] += unknown
                yield array

        token_file.write(folder / f"{name}.npy", arrays(), _dtype(found))
    (folder / NUM_UNKNOWN).write_text(json.dumps(num_unknown), encoding="utf-8")


def read(folder: Path, settings: tokens.Settings) -> Tokenised:
    """What `write` wrote with these settings.

    Raises:
      UserError: the folder is damaged.
    """
    try:
        num_unknown = read_json(folder / NUM_UNKNOWN)
        parts = {name: TokenFile(folder / f"{name}.npy") for name in num_unknown}
    except (OSError, ValueError):
        raise UserError(f"{folder} is damaged; remove it.") from None
    return Tokenised(tokens.load(settings.kind, folder), parts, num_unknown)


def _dtype(found: tokens.Tokens) -> np.dtype:
    """The smallest that holds every token."""
    return np.min_scalar_type(len(found.vocabulary) - 1)
