"""What the documentation says runs, and every public name has its page."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import data_parameters
from data_parameters import (
    DataParameters,
    IndexedDataset,
    SparseSGD,
    TrainingDynamics,
    check_loader,
    distributed,
    functional,
)

ROOT = Path(__file__).parents[1]
NUM_CLASSES = 10


def python_blocks(path: str) -> list[str]:
    text = (ROOT / path).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def surroundings() -> dict[str, Any]:
    """What a user has before the change."""
    images, target = torch.randn(40, 6), torch.randint(NUM_CLASSES, (40,))
    model = nn.Linear(6, NUM_CLASSES)
    return {
        "torch": torch,
        "F": F,
        "functional": functional,
        "DataParameters": DataParameters,
        "SparseSGD": SparseSGD,
        "check_loader": check_loader,
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "train_set": TensorDataset(images, target),
        "device": "cpu",
    }


def test_readme_example_runs() -> None:
    [example] = python_blocks("README.md")
    assert len([line for line in example.splitlines() if line.strip()]) <= 16
    names = surroundings()
    exec(example, names)
    assert sorted(names["suspects"].tolist()) == list(range(40))
    assert (names["data_parameters"].log_instance != 0).all()


@pytest.mark.parametrize("place", range(len(python_blocks("docs/loops.md"))))
def test_loops_run(place: int, tmp_path: Path) -> None:
    names = surroundings()
    names["plain_loader"] = DataLoader(names["train_set"], batch_size=8)
    names["train_set"] = IndexedDataset(names["train_set"])
    names["loader"] = DataLoader(names["train_set"], batch_size=8, shuffle=True)
    joint = DataParameters(num_classes=NUM_CLASSES, num_instances=40)
    names["data_parameters"] = joint
    names["data_optimizer"] = SparseSGD(joint.param_groups(lr_class=0.1, lr_instance=0.2))
    # What the loop before a fragment has left.
    names["images"], names["target"], names["index"] = next(iter(names["loader"]))
    names["logits"] = names["model"](names["images"])
    names["temperature"] = joint(names["target"], names["index"])
    names["path"] = tmp_path / "tables.pt"
    exec(python_blocks("docs/loops.md")[place], names)


def test_finding_issues_runs() -> None:
    [example] = python_blocks("docs/issues.md")
    names = surroundings()
    names["labels"] = names["train_set"].tensors[1]
    names["train_set"] = IndexedDataset(names["train_set"])
    names["loader"] = DataLoader(names["train_set"], batch_size=8, shuffle=True)
    names["data_parameters"] = DataParameters(num_instances=40)
    exec(example, names)
    assert len(names["issues"]) == 40
    assert len(names["worst"]) == 20


def test_loop_of_many_processes_runs_in_one() -> None:
    names = surroundings()
    names["train_set"] = IndexedDataset(names["train_set"])
    joint = DataParameters(num_classes=NUM_CLASSES, num_instances=40)
    names["data_parameters"] = joint
    names["data_optimizer"] = SparseSGD(joint.param_groups(lr_class=0.1, lr_instance=0.2))
    names |= {
        "distributed": distributed,
        "DataLoader": DataLoader,
        "TrainingDynamics": TrainingDynamics,
        "data_loss": lambda logits, target, index: functional.cross_entropy(
            logits, target, joint(target, index)
        ),
    }
    loop, uneven = python_blocks("docs/processes.md")
    exec(loop, names)
    assert (names["dynamics"].count == 2).all()
    for num_samples in (8, 0):
        for name in ("images", "target", "index"):
            names[name] = names[name][:num_samples]
        names["model"].zero_grad()
        exec(uneven, names)
        grad = names["model"].weight.grad
        assert grad is not None
        assert bool((grad != 0).any()) == (num_samples > 0)


def public_objects() -> list[tuple[str, Any]]:
    modules = ("distributed", "functional")
    names = [name for name in data_parameters.__all__ if name not in modules]
    objects = [(f"data_parameters.{name}", getattr(data_parameters, name)) for name in names]
    losses = [
        (f"data_parameters.functional.{name}", getattr(functional, name))
        for name in functional.__all__
    ]
    return objects + losses


@pytest.mark.parametrize(("name", "value"), public_objects(), ids=lambda v: str(v)[:60])
def test_every_public_name_has_its_page(name: str, value: Any) -> None:
    assert f"   {name}\n" in (ROOT / "docs" / "api" / "index.md").read_text(encoding="utf-8")
    docstring = inspect.getdoc(value) or ""
    for section in ("Args:", "Example:", "Raises:"):
        assert section in docstring, f"{name} should document {section}"


@pytest.mark.parametrize("name", distributed.__all__)
def test_what_many_processes_need_has_its_page(name: str) -> None:
    page = (ROOT / "docs" / "api" / "index.md").read_text(encoding="utf-8")
    assert f"   data_parameters.distributed.{name}\n" in page
    assert "Example:" in (inspect.getdoc(getattr(distributed, name)) or "")


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/method.md",
        "docs/issues.md",
        "docs/processes.md",
    ],
)
def test_links_inside_the_repository_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)|src=\"([^\"]+)\"", text)
    for link in (a or b for a, b in links):
        if not link.startswith(("http", "#")):
            assert ((ROOT / page).parent / link.split("#")[0]).exists(), link
