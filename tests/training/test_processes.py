"""What the processes of a run share out, and how the program is started over all devices."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from command import ROOT
from data_parameters.training.interrupt import Interrupt
from data_parameters.training.processes import Processes
from data_parameters.training.run_folder import made_by, new_run_folder
from tables import pixels


@given(batch_size=st.integers(0, 50), num_processes=st.integers(1, 9))
def test_parts_are_a_partition_and_even(batch_size: int, num_processes: int) -> None:
    rows = torch.arange(batch_size)
    parts = [rows[Processes(rank, num_processes).part(batch_size)] for rank in range(num_processes)]
    assert torch.equal(torch.cat(parts), rows)
    for part, expected in zip(parts, rows.tensor_split(num_processes), strict=True):
        assert torch.equal(part, expected)


def test_alone_there_is_nothing_to_exchange() -> None:
    alone = Processes.joined()
    assert alone == Processes(0, 1)
    assert alone.is_first
    sums = torch.ones(2)
    assert alone.total(sums) is sums
    assert alone.gather([1, 2]) == [[1, 2]]
    assert alone.gather_objects("a") == ["a"]
    assert alone.from_first(lambda: 3) == 3
    assert alone.first_before_others(lambda: 4) == 4


def test_a_signal_that_the_launcher_repeats_is_heard_once() -> None:
    with Interrupt((signal.SIGTERM,)) as interrupt:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert interrupt.number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_folder_knows_who_made_it(tmp_path: Path) -> None:
    folder = new_run_folder("train", tmp_path / "run", launch="abc").path
    assert made_by(folder, "abc")
    assert not made_by(folder, "ab")
    assert not made_by(tmp_path, "abc")


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="torchrun needs fork and signals of Unix")
def test_imagenet_script_takes_all_devices_with_one_command(tmp_path: Path) -> None:
    """Two devices are claimed; the processes that it starts find none and take the CPU."""
    for split in ("train", "val"):
        for label in ("cat", "dog"):
            folder = tmp_path / "images" / split / label
            folder.mkdir(parents=True)
            for place in range(4):
                Image.fromarray(pixels(place, size=12)).save(folder / f"{place}.png")
    script = ROOT / "scripts" / "main_imagenet.py"
    words = ["-b", "8", "-j", "0", "--epochs", "1", "--image-size", "32", "--learn_inst_parameters"]
    program = (
        "import runpy, sys, torch; torch.cuda.device_count = lambda: 2; "
        f"sys.argv = {[str(script), '--data', 'images', *words]!r}; "
        f"runpy.run_path({str(script)!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Run folder: runs/temp") == 1
    assert done.stdout.count("Everything is in runs/temp.") == 1
    rows = (tmp_path / "runs" / "temp" / "instances.csv").read_text().splitlines()
    assert [row.rsplit(",", 1)[1] for row in rows[1:]] == ["1"] * 8
