"""Ctrl-C and a request to end, heard between two steps."""

import contextlib
import os
import signal
import types
from collections.abc import Collection
from typing import Any, Self

__all__ = ["HEARD", "Interrupt", "StoppedError"]

HEARD = "\nStopping after this step, and saving. Once more ends the program at once.\n"


class StoppedError(SystemExit):
    """A run has saved its state and stopped, because it was asked to.

    Uncaught it ends the program with the status that shells report for the signal.

    Args:
        number: The signal that asked.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


class Interrupt:
    """While this is entered, the first signal is noted and the second ends the program at once.

    Args:
        repeats: Signals that may follow another one and mean the same. ``torchrun`` sends SIGTERM
            to processes that Ctrl-C has reached already.
        says: What to tell the user at the first signal.
    """

    def __init__(self, repeats: Collection[int] = (), *, says: str = HEARD) -> None:
        self.repeats, self.says = repeats, says
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: types.FrameType | None) -> None:
        if self.number is not None:
            if number not in self.repeats:
                raise KeyboardInterrupt
            return
        self.number = number
        # Unbuffered: a handler may come in the middle of another write. Without a standard error
        # there is nobody to tell.
        with contextlib.suppress(OSError):
            os.write(2, self.says.encode())
