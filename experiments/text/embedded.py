"""The embedded text: the prose of CPython's language reference, prepared like the Penn Treebank.

One sentence a line, lower case, no punctuation, numbers as N, rare words as <unk>. Topics quote
each other, so a paragraph counts where it stands first.
"""

import re
import sys
from collections import Counter

from experiments.record.errors import UserError

MIN_COUNT = 3
SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}


def name() -> str:
    """What the text is called; it is that of this Python."""
    version = ".".join(map(str, sys.version_info[:3]))
    return f"CPython {version}'s language reference (embedded)"


def texts() -> dict[str, str]:
    """The text of each split.

    Raises:
      UserError: this Python does not bundle it.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise UserError(
            "this Python does not bundle pydoc_data.topics, the embedded text; give --text=FILE."
        ) from None
    found = _split_by_topic(_prose(topics))
    counts = Counter(found["train"].split())
    known = {word for word, count in counts.items() if count >= MIN_COUNT}
    for split, text in found.items():
        found[split] = re.sub(r"\S+", lambda m: m[0] if m[0] in known else "<unk>", text)
    return found


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
    wanting = {split: share * total for split, share in SHARES.items()}
    splits = dict.fromkeys(SHARES, "")
    for text in sorted(texts, key=len, reverse=True):
        split = max(SHARES, key=wanting.__getitem__)
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
