"""Checkpoints that are whole or not there."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from data_parameters.training.checkpoint import (
    DamagedCheckpointError,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
)


def test_round_trip_and_the_newest_two_are_kept(tmp_path: Path) -> None:
    for step in (5, 100, 20_000):
        save_checkpoint(tmp_path, step, {"step": step, "weights": torch.arange(step % 7)})
    assert len(list(tmp_path.iterdir())) == 2
    state, damaged = newest_checkpoint(tmp_path)
    assert state is not None
    assert state["step"] == 20_000
    assert torch.equal(state["weights"], torch.arange(20_000 % 7))
    assert damaged == []
    assert newest_checkpoint(tmp_path / "absent") == (None, [])


@pytest.mark.parametrize("damage", ["truncate", "flip a bit", "empty"])
def test_a_damaged_checkpoint_is_named_and_the_previous_one_used(
    tmp_path: Path, damage: str
) -> None:
    save_checkpoint(tmp_path, 1, {"step": 1})
    newest = save_checkpoint(tmp_path, 2, {"step": 2, "weights": torch.zeros(1000)})
    content = bytearray(newest.read_bytes())
    if damage == "truncate":
        content = content[:-10]
    elif damage == "flip a bit":
        content[len(content) // 2] ^= 1
    else:
        content = bytearray()
    newest.write_bytes(content)
    state, damaged = newest_checkpoint(tmp_path)
    assert state is not None
    assert state["step"] == 1
    assert len(damaged) == 1
    assert newest.name in str(damaged[0])
    with pytest.raises(DamagedCheckpointError, match="damaged or cut short"):
        load_checkpoint(newest)
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.raises(DamagedCheckpointError, match="No checkpoint is sound"):
        newest_checkpoint(tmp_path)


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import torch
from data_parameters.training.checkpoint import save_checkpoint

folder = Path(sys.argv[1])
save_checkpoint(folder, 1, {"step": 1})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_checkpoint(folder, 2, {"step": 2, "weights": torch.zeros(1_000_000)})
except OSError as error:
    print("refused", error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of a file")
def test_the_sound_one_survives_a_disk_that_fills(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("refused")
    assert len(list(tmp_path.iterdir())) == 1
    state, _ = newest_checkpoint(tmp_path)
    assert state == {"step": 1}


def test_checkpoints_run_no_code(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 1, {"path": Path("x")})
    with pytest.raises(Exception, match=r"(?i)weights.only"):
        load_checkpoint(path)
