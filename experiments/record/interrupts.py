"""Ctrl-C, held back where work must not stop half-way."""

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Ctrl-C within the block takes effect at its end; for the main thread."""
    caught = []
    handler = signal.signal(signal.SIGINT, lambda number, _: caught.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        for number in caught[:1]:
            signal.raise_signal(number)
