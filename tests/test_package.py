"""What a user gets: the wheel, installed with nothing but the core's dependencies."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

CORE_PROGRAM = """
import torch
import data_parameters
from data_parameters import DataParameters, IndexedDataset, SparseSGD, functional

tables = DataParameters(num_instances=4)
optimizer = SparseSGD(tables.param_groups(lr_instance=0.1), momentum=0.9)
loss = functional.cross_entropy(
    torch.randn(2, 3), torch.tensor([0, 1]), tables(index=torch.tensor([0, 1]))
)
loss.backward()
optimizer.step()
print(data_parameters.__file__)
"""


def run(*command: str | Path, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    # Neither the tree nor anything else on the path may stand in for what is installed.
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        check=check,
        capture_output=True,
        text=True,
        env=environment,
    )


@pytest.mark.long
def test_wheel_without_extras(tmp_path: Path) -> None:
    import numpy
    import torch

    run(
        sys.executable, "-m", "pip", "wheel", ROOT, "--no-deps", "--no-build-isolation",
        "--wheel-dir", tmp_path, cwd=tmp_path,
    )  # fmt: skip
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "data_parameters/py.typed" in names
    assets = {path.name for path in (ROOT / "src/data_parameters/report/assets").iterdir()}
    assert {f"data_parameters/report/assets/{name}" for name in assets} <= set(names)
    assert {"page.html", "style.css", "review.js"} <= assets
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests", "benchmarks"))]

    # Installing torch anew would take minutes. A link to what is installed gives the new
    # environment torch and numpy with what they need, and none of the extras' packages.
    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", environment, cwd=tmp_path)
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    site = Path(torch.__file__).parents[1]
    assert site == Path(numpy.__file__).parents[1]
    blocked = ("sklearn", "matplotlib", "rich", "tyro", "pandas", "torchvision")
    block = f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))\n"
    link = f"sys.path.append({str(site)!r})\n"

    found = run(python, "-c", block + link + CORE_PROGRAM, cwd=tmp_path).stdout.strip()
    assert Path(found).is_relative_to(environment)

    command = block + link + "from data_parameters.cli import main; main()"
    failed = run(python, "-c", command, "demo", cwd=tmp_path, check=False)
    assert failed.returncode != 0
    assert "pip install 'data-parameters[train]'" in failed.stderr
    assert "Traceback" not in failed.stderr
