"""The trainings of the benchmark of label issues run with the program as it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "label_issues"
PROGRAM = """
import sys
from dataclasses import replace
from pathlib import Path
import scores, trainings
from settings import settings
folder, name = Path(sys.argv[1]), "digits-symmetric-40"
config = replace(settings(folder, folder)[name], epochs=1)
trainings.measure(name, config, 0, "instance", folder)
found = scores.suspicions(folder, name, 0)
assert all(len(suspicion) == len(found["σ"]) for suspicion in found.values())
print("trusted margin and σ (default)" in found)
"""


def test_a_training_of_the_benchmark_gives_its_scores(tmp_path):
    pytest.importorskip("pyarrow", reason="the benchmark reads Parquet files")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(BENCHMARK), os.environ.get("PYTHONPATH", "")]),
            "PYTHONIOENCODING": "utf-8",
        },
    )
    assert done.stdout.split()[-1:] == ["True"], done.stderr
