"""Ctrl-C and SIGTERM: a conventional exit code, and no stop half-way through a save.

Of several processes that run one command, all stop at the same place.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

SIGNALS = signal.SIGINT, signal.SIGTERM
AGAIN_SECONDS = 0.01
_noted: list[int] = []


class Terminated(KeyboardInterrupt):
    """SIGTERM, as a scheduler sends it."""


def exit_code(stop: KeyboardInterrupt) -> int:
    """That of a shell's command which the signal has ended."""
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """SIGTERM raises as Ctrl-C does; a second signal ends the process at once, without a word.

    What is raised where Python drops it, as in JAX's callback of the garbage collector, is raised
    again.
    """

    def stop(number, _):
        for each in caught:
            signal.signal(each, _end_at_once)
        raise _kind(number)

    def dropped(unraisable):
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            return before(unraisable)
        for each in caught:
            signal.signal(each, stop)
        again = threading.main_thread().ident, exit_code(unraisable.exc_value) - 128
        threading.Timer(AGAIN_SECONDS, signal.pthread_kill, again).start()

    caught = _caught()
    before, sys.unraisablehook = sys.unraisablehook, dropped
    try:
        with _handled(caught, stop):
            yield
    finally:
        sys.unraisablehook = before


@contextlib.contextmanager
def noted() -> Iterator[None]:
    """A signal takes effect in `together`; a second one ends the process at once."""

    def note(number, frame):
        if _noted:
            _end_at_once(number, frame)
        _noted.append(number)

    try:
        with _handled(_caught(), note):
            yield
    finally:
        _noted.clear()


def together(largest: Callable[[int], int]) -> None:
    """Raises in all processes if one has noted a signal; `largest` is of their numbers."""
    number = largest(_noted[0] if _noted else 0)
    if number:
        raise _kind(number)


def _kind(number):
    return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()


def _caught():
    """A process in the background does not get Ctrl-C."""
    return [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """A signal within the block takes effect at its end; for the main thread."""
    caught = []

    def keep(number, frame):
        if caught:
            _end_at_once(number, frame)
        caught.append(number)

    try:
        with _handled(SIGNALS, keep):
            yield
    finally:
        for number in caught:
            signal.raise_signal(number)


@contextlib.contextmanager
def _handled(signals, handler):
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_at_once(number, _):
    os._exit(128 + number)
