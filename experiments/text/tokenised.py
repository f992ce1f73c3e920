"""The parts of a text as tokens: in memory, or as files in a folder."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.record.files import read_object
from experiments.text import token_file, tokenizer
from experiments.text.token_file import TokenFile

MANIFEST = "manifest.json"  # how many tokens became <unk>, and the md5 of every file


class Tokenised(NamedTuple):
    """Each part as tokens in 0..V-1."""

    tokenizer: tokenizer.Tokenizer
    parts: Mapping[str, np.ndarray | TokenFile]
    num_unknown: dict[str, int]  # how many tokens of a part became <unk>


def in_memory(texts: dict[str, str], settings: tokenizer.TokenizerSettings) -> Tokenised:
    """The tokens of short texts, of which "train" decides what a token is."""
    train = texts["train"]
    found = tokenizer.fit(settings, [train], len(train.encode()))
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
    settings: tokenizer.TokenizerSettings,
) -> None:
    """Writes the tokens of texts of any size into a folder.

    Args:
      folder: an empty folder.
      parts: for each part its pieces, read anew for a purpose; "train" decides what a token is.
      num_bytes: of the training part, in UTF-8.
      settings: the kind of tokens.
    """
    found = tokenizer.fit(settings, parts["train"]("counting"), num_bytes)
    tokenizer.save(found, settings.kind, folder)
    num_unknown = dict.fromkeys(parts, 0)
    for name, pieces in parts.items():

        def arrays(name=name, pieces=pieces):
            for array, unknown in found.encode(pieces("tokenising")):
                num_unknown[name] += unknown
                yield array

        token_file.write(folder / f"{name}.npy", arrays(), _dtype(found))
    manifest = {"num_unknown": num_unknown, "md5": _md5_of_files(folder)}
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def is_whole(folder: Path) -> bool:
    """Whether the folder holds what `write` wrote, to the last bit."""
    num_unknown = {path.stem: int for path in folder.glob("*.npy")}
    try:
        found = read_object(folder / MANIFEST, {"md5": dict, "num_unknown": num_unknown})
        return found["md5"] == _md5_of_files(folder)
    except (OSError, ValueError):
        return False


def read(folder: Path, settings: tokenizer.TokenizerSettings) -> Tokenised:
    """What `write` wrote with these settings."""
    num_unknown = read_object(folder / MANIFEST, {"num_unknown": dict})["num_unknown"]
    parts = {name: TokenFile(folder / f"{name}.npy") for name in num_unknown}
    return Tokenised(tokenizer.load(settings.kind, folder), parts, num_unknown)


def _md5_of_files(folder: Path) -> dict[str, str]:
    """By name, of all but the manifest."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name != MANIFEST:
            with open(path, "rb") as file:
                found[path.name] = hashlib.file_digest(file, "md5").hexdigest()
    return found


def _dtype(found: tokenizer.Tokenizer) -> np.dtype:
    """The smallest that holds every token."""
    return np.min_scalar_type(len(found.vocabulary) - 1)
