"""Text as streams of word numbers: Penn Treebank, own text, and the embedded corpus."""

import hashlib
import os
import re
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.record.errors import UserError
from experiments.record.files import cache_dir

SPLITS: tuple[str, ...] = ("train", "valid", "test")
CORPORA = ("auto", "ptb", "embedded")
PTB = "Penn Treebank"  # in Mikolov's preparation
PTB_MD5 = {
    "train": "f26c4b92c5fdc7b3f8c7cdcb991d8420",
    "valid": "aa0affc06ff7c36e977d7cd49e3839bf",
    "test": "8b80168b89c18661a38ef683c0dc3721",
}
EMBEDDED_MIN_COUNT = 3


class Corpus(NamedTuple):
    """Three streams of word numbers in 0..V-1."""

    name: str
    md5: dict[str, str]  # of each split's text, with \n for line ends
    vocabulary: list[str]  # V words, the most frequent first
    train: np.ndarray  # [tokens], int32
    valid: np.ndarray
    test: np.ndarray

    def __str__(self):
        sizes = " / ".join(f"{len(tokens):,}" for tokens in (self.train, self.valid, self.test))
        return f"{self.name}: {sizes} tokens (train/valid/test), {len(self.vocabulary):,} words"


def read_corpus(corpus: str, data_dir: str | os.PathLike | None = None) -> Corpus:
    """Reads a corpus.

    Args:
      corpus: `ptb` reads the three files from `data_dir`, by default the user's cache folder;
        `embedded` takes the text that CPython carries; `auto` takes the files where they are found
        or asked for by `data_dir`, and otherwise the embedded text.
      data_dir: folder with ptb.train.txt or train.txt and its siblings, or with the original
        archive's simple-examples/data.

    Raises:
      UserError: files missing, empty, not text, or with words that the training text lacks.
    """
    if corpus == "embedded":
        if data_dir is not None:
            raise UserError("--corpus=embedded reads no --data_dir; take --corpus=ptb for files.")
        return _embedded_corpus()
    folder = Path(data_dir).expanduser() if data_dir is not None else cache_dir() / "ptb"
    paths = find_splits(folder)
    if paths is None:
        if corpus == "auto" and data_dir is None:
            return _embedded_corpus()
        raise UserError(
            f"no ptb.train.txt, ptb.valid.txt and ptb.test.txt (or train.txt ...) in {folder}; "
            "`python -m experiments.download_ptb` fetches them, --corpus=embedded needs none."
        )
    texts = {split: _read_text(path) for split, path in paths.items()}
    is_ptb = all(_md5(texts[split]) == PTB_MD5[split] for split in SPLITS)
    return _corpus(PTB if is_ptb else f"text in {folder}", texts)


def find_splits(folder: Path) -> dict[str, Path] | None:
    """The paths of the three splits in `folder` or in an unpacked archive below it."""
    for place in (folder, folder / "data", folder / "simple-examples" / "data"):
        for prefix in ("ptb.", ""):
            paths = {split: place / f"{prefix}{split}.txt" for split in SPLITS}
            if all(path.is_file() for path in paths.values()):
                return paths
    return None


def num_sequences(length: int, seq_len: int) -> int:
    """How many sequences a stream is cut into; the last token that they use is a target only."""
    return (length - 1) // seq_len


def sequences(
    tokens: np.ndarray, batch_size: int, seq_len: int, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts one stream into `batch_size` contiguous streams and these into sequences.

    Sequence i + 1 continues sequence i, so state can be carried; what does not fill a sequence is
    dropped. Targets are the inputs' successors.

    Args:
      tokens: [tokens], int32.
      batch_size: B.
      seq_len: T.
      name: of the stream, for the error.

    Returns:
      Inputs and targets, both [S, T, B], time before batch.

    Raises:
      UserError: there is not one sequence in the text.
    """
    length = len(tokens) // batch_size
    num = num_sequences(length, seq_len)
    if num < 1:
        raise UserError(
            f"the {name} text has {len(tokens):,} tokens, too few for one sequence: "
            f"a batch of {batch_size} streams of {seq_len} + 1 tokens needs "
            f"{batch_size * (seq_len + 1):,}."
        )
    streams = tokens[: batch_size * length].reshape(batch_size, length)

    def cut(first):
        used = streams[:, first : first + num * seq_len]
        return used.reshape(batch_size, num, seq_len).transpose(1, 2, 0)

    return cut(0), cut(1)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as UTF-8 text: {error}.") from error


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _corpus(name: str, texts: dict[str, str]) -> Corpus:
    words = {split: text.replace("\n", " <eos> ").split() for split, text in texts.items()}
    for split in SPLITS:
        if not words[split]:
            raise UserError(f"the {split} text is empty ({name}).")
    counts = Counter(words["train"])
    vocabulary = sorted(counts, key=lambda word: (-counts[word], word))
    numbers = {word: number for number, word in enumerate(vocabulary)}
    tokens = {}
    for split in SPLITS:
        unknown = next((word for word in words[split] if word not in numbers), None)
        if unknown == "<eos>":
            raise UserError(f"the train text has no line end, the {split} text has ({name}).")
        if unknown is not None:
            raise UserError(
                f"the {split} text has the word {unknown!r}, which the train text lacks ({name}); "
                "replace such words by <unk>, in the train text too."
            )
        tokens[split] = np.array([numbers[word] for word in words[split]], np.int32)
    return Corpus(name, {split: _md5(texts[split]) for split in SPLITS}, vocabulary, **tokens)


def _embedded_corpus() -> Corpus:
    """The prose of CPython's language reference, prepared like the Penn Treebank.

    One sentence a line, lower case, no punctuation, numbers as N, rare words as <unk>. Topics quote
    each other, so a paragraph counts where it stands first.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise UserError(
            "this Python carries no pydoc_data.topics, the embedded text; give --data_dir."
        ) from None
    texts = _split_by_topic(_prose(topics))
    counts = Counter(texts["train"].split())
    known = {word for word, count in counts.items() if count >= EMBEDDED_MIN_COUNT}
    for split, text in texts.items():
        texts[split] = re.sub(r"\S+", lambda m: m[0] if m[0] in known else "<unk>", text)
    version = ".".join(map(str, sys.version_info[:3]))
    return _corpus(f"CPython {version}'s language reference (embedded)", texts)


def _prose(topics: dict[str, str]) -> list[str]:
    """One text a topic: its sentences, without code, grammar and what stood in an earlier topic."""
    seen = set()
    texts = []
    for topic in sorted(topics):
        paragraphs = [" ".join(p.split()) for p in re.split(r"\n\s*\n", topics[topic])]
        new = [p for p in paragraphs if p not in seen and "::=" not in p and ">>>" not in p]
        seen.update(new)
        texts.append("".join(map(_sentences, new)))
    return texts


def _split_by_topic(texts: list[str]) -> dict[str, str]:
    """80, 10 and 10 % of the text in whole topics, the longest first to where most is wanting."""
    total = sum(map(len, texts))
    wanting = {"train": 0.8 * total, "valid": 0.1 * total, "test": 0.1 * total}
    splits = dict.fromkeys(SPLITS, "")
    for text in sorted(texts, key=len, reverse=True):
        split = max(SPLITS, key=wanting.__getitem__)
        splits[split] += text
        wanting[split] -= len(text)
    return splits


def _sentences(paragraph: str) -> str:
    lines = []
    for sentence in re.split(r"(?<=[.!?:])\s+", paragraph):
        words = re.findall(r"[a-z]+(?:[’'][a-z]+)*|\d+", sentence.lower().replace("_", " "))
        if words:
            lines.append(" ".join("N" if word.isdigit() else word for word in words) + "\n")
    return "".join(lines)
