"""What a run says: on the terminal with live progress, and line by line in a log file."""

from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["RunConsole"]


class RunConsole:
    """Lines to the terminal and to a log file, and a bar for the steps of an epoch.

    Args:
        log: The log file.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        self.console = Console(highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._epoch, self._note = "", ""

    def __enter__(self) -> Self:
        # Without a terminal a bar would only leave its last state among the lines.
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=30),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def say(self, line: str) -> None:
        """Show a line, and keep it.

        Args:
            line: Plain text; nothing in it is taken as markup.
        """
        self.console.print(line, markup=False)
        with self.log.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def note(self, note: str) -> None:
        """Say something beside the bar, from its next move on.

        Args:
            note: The latest figure.
        """
        self._note = note

    def advance(self, epoch: str, done: int, total: int) -> None:
        """Move the bar.

        Args:
            epoch: What the bar is about; with a new one, it and its clocks start anew.
            done: Steps done.
            total: Steps of the epoch.
        """
        if self._bar is None:
            return
        if self._task is None:
            self._task = self._bar.add_task(epoch, total=total, note=self._note)
        elif epoch != self._epoch:
            self._bar.reset(self._task, total=total, description=epoch)
        self._epoch = epoch
        self._bar.update(self._task, completed=done, note=self._note)
