"""Checkpoints that are whole or not there.

A checkpoint is written to a temporary name, flushed to the disk, and renamed. Its final name
carries the digest of its content, so that a damaged one is recognised. The newest two are kept.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import IO, Any, cast

import torch

__all__ = [
    "DamagedCheckpointError",
    "load_checkpoint",
    "newest_checkpoint",
    "save_checkpoint",
    "save_weights",
    "tidy_checkpoints",
]

KEPT = 2
NAME = re.compile(r"step-(\d+)-([0-9a-f]{16})\.pt")


class DamagedCheckpointError(ValueError):
    """The content of a checkpoint is not what was written.

    Args:
        message: What to tell the user.
        path: The file, where it is one.
    """

    def __init__(self, message: str, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path


def save_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write a checkpoint, and remove older ones once it is safe.

    Args:
        folder: Where checkpoints live.
        step: Steps done.
        state: Tensors and plain values.

    Returns:
        The file.

    Raises:
        OSError: It could not be written; what was there before still is.
    """
    folder.mkdir(exist_ok=True)
    temporary = folder / f"step-{step}.tmp"
    digest = _write(temporary, state)
    path = folder / f"step-{step:012}-{digest[:16]}.pt"
    temporary.replace(path)
    _sync_folder(folder)
    for old in _checkpoints(folder)[KEPT:]:
        old.unlink()
    return path


def save_weights(path: Path, weights: dict[str, Any]) -> None:
    """Write weights, whole or not at all.

    Args:
        path: The file.
        weights: The state of a model.

    Raises:
        OSError: They could not be written; what was there before still is.
    """
    temporary = path.with_suffix(".tmp")
    _write(temporary, weights)
    temporary.replace(path)


def _write(path: Path, state: dict[str, Any]) -> str:
    """Write, flush to the disk, and return the digest; leave nothing behind on a failure."""
    try:
        with path.open("wb") as file:
            writer = _Digest(file)
            try:
                torch.save(state, cast(IO[bytes], writer))
            except RuntimeError as error:  # torch's words for a write that failed
                raise OSError(f"could not write {path}: {writer.error or error}") from error
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return writer.digest.hexdigest()


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint and compare it with its digest.

    Args:
        path: The file.

    Returns:
        The state.

    Raises:
        DamagedCheckpointError: The content is not what was written.
    """
    content = path.read_bytes()
    match = NAME.fullmatch(path.name)
    if match is None or hashlib.sha256(content).hexdigest()[:16] != match[2]:
        raise DamagedCheckpointError(
            f"{path} should hold what was written to it. Found {len(content):,} bytes with another "
            "digest: it is damaged or cut short.",
            path,
        )
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def newest_checkpoint(
    folder: Path,
) -> tuple[dict[str, Any] | None, list[DamagedCheckpointError]]:
    """Load the newest sound checkpoint.

    Args:
        folder: Where checkpoints live.

    Returns:
        Its state, or ``None`` where there is none; and an error for each damaged one that was
        passed over.

    Raises:
        DamagedCheckpointError: There are checkpoints, and all are damaged.
    """
    damaged: list[DamagedCheckpointError] = []
    for path in _checkpoints(folder):
        try:
            return load_checkpoint(path), damaged
        except DamagedCheckpointError as error:
            damaged.append(error)
    if damaged:
        raise DamagedCheckpointError("No checkpoint is sound. " + " ".join(map(str, damaged)))
    return None, damaged


def tidy_checkpoints(folder: Path, damaged: list[DamagedCheckpointError]) -> None:
    """Set damaged checkpoints aside, and remove what a killed run had begun to write.

    A damaged one would count among those that are kept, and push out a sound one.

    Args:
        folder: Where checkpoints live.
        damaged: What :func:`newest_checkpoint` passed over; they keep their content under a name
            that ends in ``.damaged``.
    """
    for error in damaged:
        if error.path is not None:
            error.path.rename(error.path.with_suffix(".damaged"))
    for unfinished in folder.glob("step-*.tmp"):
        unfinished.unlink()


def _checkpoints(folder: Path) -> list[Path]:
    """Newest first."""
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if NAME.fullmatch(p.name)), reverse=True)


class _Digest:
    """A file that knows the digest of what is written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest = file, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, content: Any) -> int:
        view = memoryview(content).cast("B")
        try:
            self.file.write(view)
        except OSError as error:
            self.error = error
            raise
        self.digest.update(view)
        return len(view)

    def flush(self) -> None:
        self.file.flush()


def _sync_folder(folder: Path) -> None:
    """Make the rename last; not every system lets a folder be opened."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
