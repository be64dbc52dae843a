"""The command and the scripts as a user starts them: in processes of their own."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-c", "from data_parameters.cli import main; main()"]


def run(*words: str | Path, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """`data-parameters` with these words, to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, words)], cwd=cwd, capture_output=True, text=True, **options
    )


def start(*words: str | Path, cwd: Path) -> "subprocess.Popen[str]":
    """`data-parameters` with these words, with each line as soon as it is said."""
    return subprocess.Popen(
        [*COMMAND, *map(str, words)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        # A group of its own, so that a test can end it with its workers.
        start_new_session=True,
        # A shell in the background ignores Ctrl-C, and so would all that it starts.
        preexec_fn=None if sys.platform == "win32" else _hear_interrupts,
    )


def _hear_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def script(name: str, *words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A file of `scripts` with these words, to its end."""
    command = [sys.executable, str(ROOT / "scripts" / name), *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)
