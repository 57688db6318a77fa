"""The signals that ask a process to end: Ctrl-C, and what a queue, a shutdown or a closed terminal sends."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

PIPE = 13  # SIGPIPE, where there is one
NAMES = {"SIGINT": "Ctrl-C", "SIGTERM": "SIGTERM", "SIGHUP": "SIGHUP"}


class Stopped(SystemExit):
    """A signal ended the process, and nothing that it ran."""


@contextmanager
def handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have them call `handler` inside the block. One that is ignored, as nohup has it, stays ignored."""
    numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: was for number, was in before.items() if was not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, was in before.items():
            signal.signal(number, was)


@contextmanager
def noted(pressed: list[int]) -> Iterator[None]:
    """Keep the first in `pressed`, to be acted on at the next look; the second leaves at once. A terminal that closes
    sends two, one of its own and one of the shell's."""

    def note(number: int, frame: FrameType | None) -> None:
        if pressed and number != getattr(signal, "SIGHUP", None):
            raise SystemExit(128 + number)
        pressed.append(number)

    with handled(note):
        yield


def leave(number: int, frame: FrameType | None) -> None:
    """Leave at once, with what a shell expects; what is being written is cleared away on the way out."""
    print(f"retrograd: Stopped by {NAMES[signal.Signals(number).name]}.", file=sys.stderr)
    raise Stopped(128 + number)
