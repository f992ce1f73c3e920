"""The numbers of a finished result: what it lacks is an error that names the file."""

import functools
from pathlib import Path
from typing import Any

from experiments.record.errors import UserError
from experiments.record.files import read_json
from experiments.text import data


class Numbers(dict):
    """An object of a result; what it lacks and is asked for is an error that names the file."""

    def __init__(self, path: Path, pairs: list[tuple[str, Any]]):
        super().__init__(pairs)
        self.path = path

    def __missing__(self, name):
        raise self.lacks(name)

    def lacks(self, what: str) -> UserError:
        return UserError(f"{self.path} lacks {what}; run its command again.")

    def row(self, rows: str, /, **values: Any) -> "Numbers":
        """The first row of the list `rows` that has these values."""
        for row in self[rows]:
            if all(row[key] == value for key, value in values.items()):
                return row
        raise self.lacks(f"{rows} of " + ", ".join(f"{k} {v}" for k, v in values.items()))


def read(path: Path) -> Numbers:
    """The content of a result.

    Raises:
      UserError: it is missing, is no JSON object, or is of another text than the article's.
    """
    found = of_any_text(path)
    check_text(path, found.get("corpus", data.PTB))
    return found


def of_any_text(path: Path) -> Numbers:
    """The content of a result.

    Raises:
      UserError: it is missing, or is no JSON object.
    """
    try:
        found = read_json(path, functools.partial(Numbers, path))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run its command.") from None
    except ValueError:
        raise UserError(f"{path} is damaged; run its command again.") from None
    if not isinstance(found, Numbers):
        raise UserError(f"{path} is damaged; run its command again.")
    return found


def check_text(source: Any, corpus: Any) -> None:
    """Checks that a text, given by its name or with its `md5`, is the article's.

    Raises:
      UserError: it is another.
    """
    if isinstance(corpus, dict) and corpus.get("md5") == data.PTB_MD5:
        return
    name = corpus.get("name") if isinstance(corpus, dict) else corpus
    if isinstance(corpus, dict) or name != data.PTB:
        raise UserError(f"{source}: the text is {name}, not the {data.PTB}.")
