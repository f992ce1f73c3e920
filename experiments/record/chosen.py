"""What a flag chooses of a study's parts, named with commas between them."""

from collections.abc import Iterable
from typing import TypeVar

from absl import flags

from experiments.record.errors import UserError

T = TypeVar("T")


def of_flag(name: str, parts: Iterable[T]) -> list[T]:
    """The parts that the flag `name` lists, in the order of `parts`.

    Raises:
      UserError: it lists another.
    """
    by_name = {str(part): part for part in parts}
    asked = {*getattr(flags.FLAGS, name).split(",")}
    unknown = sorted(asked - by_name.keys())
    if unknown:
        raise UserError(f"--{name}={','.join(unknown)}: choose from {', '.join(by_name)}.")
    return [part for said, part in by_name.items() if said in asked]
