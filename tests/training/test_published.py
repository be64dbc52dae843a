"""Checkpoints of the published code: read whatever wrote them, and nothing in them run."""

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from data_parameters.training.models import ModelConfig, build_model
from data_parameters.training.published import PublishedCheckpoint, load_published_checkpoint
from data_parameters.training.wide_resnet import WideResNet

NUMPY_1, NUMPY_2 = b"numpy.core.multiarray", b"numpy._core.multiarray"


def artifacts(model: nn.Module | None = None, **changes: Any) -> dict[str, Any]:
    """What the published code saves after epoch 83, counted from 0."""
    generator = np.random.default_rng(0)
    return {
        "epoch": 84,
        "arch": "WideResNet28_10",
        "state_dict": (nn.Linear(2, 3) if model is None else model).state_dict(),
        "class_parameters": np.zeros(5, np.float32),
        "inst_parameters": generator.uniform(-2.9, 2.9, 20).astype(np.float32),
        **changes,
    }


def save(path: Path, content: Any, *, as_zip: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=as_zip)
    return path


def name_numpy(path: Path, name: bytes) -> None:
    """Rewrite a file as another version of numpy would have written it."""

    def renamed(data: bytes) -> bytes:
        assert NUMPY_1 in data or NUMPY_2 in data
        return data.replace(NUMPY_1, name).replace(NUMPY_2, name)

    if not zipfile.is_zipfile(path):
        path.write_bytes(renamed(path.read_bytes()))
        return
    with zipfile.ZipFile(path) as archive:
        parts = {part: archive.read(part) for part in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for part, data in parts.items():
            archive.writestr(part, renamed(data) if part.endswith("data.pkl") else data)


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("numpy_name", [NUMPY_1, NUMPY_2], ids=["numpy1", "numpy2"])
def test_tables_and_weights_come_back(tmp_path: Path, as_zip: bool, numpy_name: bytes) -> None:
    content = artifacts()
    path = save(tmp_path / "epoch_83.pth.tar", content, as_zip=as_zip)
    name_numpy(path, numpy_name)
    found = load_published_checkpoint(path)
    assert (found.epoch, found.arch) == (84, "WideResNet28_10")
    assert found.state_dict.keys() == content["state_dict"].keys()
    for name, value in content["state_dict"].items():
        assert torch.equal(found.state_dict[name], value)
    for table, name in ((found.log_class, "class"), (found.log_instance, "inst")):
        assert table is not None
        assert table.dtype == torch.float32
        assert np.array_equal(table.numpy(), content[f"{name}_parameters"])


def test_the_published_weights_fit_our_network(tmp_path: Path) -> None:
    trained = WideResNet(10, 1, num_classes=5)
    path = save(tmp_path / "epoch_0.pth.tar", artifacts(trained), as_zip=False)
    found = load_published_checkpoint(str(path))
    ours = build_model(ModelConfig(name="wrn-10-1"), (3, 32, 32), num_classes=5)
    ours.load_state_dict(found.state_dict)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(ours.eval()(images), trained.eval()(images))


@pytest.mark.parametrize("name", ["resnet18", "vgg11"])
def test_wrappers_for_several_gpus_leave_no_name(tmp_path: Path, name: str) -> None:
    pytest.importorskip("torchvision")
    with torch.device("meta"):
        model = build_model(ModelConfig(name=name), (3, 224, 224), num_classes=2)
    prefix = "features." if name == "vgg11" else ""
    wrapped = OrderedDict(
        (
            key.replace(prefix, f"{prefix}module.", 1) if key.startswith(prefix) else key,
            torch.ones(1),
        )
        for key in model.state_dict()
    )
    assert set(wrapped) != set(model.state_dict())
    path = save(tmp_path / "epoch_0.pth.tar", artifacts(state_dict=wrapped))
    assert list(load_published_checkpoint(path).state_dict) == list(model.state_dict())


def checkpoint(**tables: list[float] | None) -> PublishedCheckpoint:
    values = {
        name: None if table is None else torch.tensor(table).log() for name, table in tables.items()
    }
    return PublishedCheckpoint(epoch=1, arch="resnet18", state_dict={}, **values)


def test_the_tables_become_data_parameters_bit_for_bit(tmp_path: Path) -> None:
    path = save(tmp_path / "epoch_83.pth.tar", artifacts())
    found = load_published_checkpoint(path)
    assert found.learned_levels == ("instance",)
    tables = found.to_data_parameters()
    assert tables.log_class is None
    assert tables.log_instance is not None
    assert torch.equal(tables.log_instance, found.log_instance)
    assert tables.bounds == (1 / 20, 20.0)
    assert tables.log_instance.requires_grad

    both = found.to_data_parameters(levels=("class", "instance"), ignore_index=-1)
    assert both.log_class is not None
    assert both.ignore_index == -1
    assert torch.equal(both.log_class, found.log_class)


def test_learned_levels_are_those_whose_rows_differ() -> None:
    levels = {
        ("class",): checkpoint(log_class=[1.0, 2.0], log_instance=[1.0, 1.0, 1.0]),
        ("class", "instance"): checkpoint(log_class=[1.0, 2.0], log_instance=[0.1, 0.1, 0.2]),
        (): checkpoint(log_class=[1.0, 1.0], log_instance=None),
    }
    for expected, found in levels.items():
        assert found.learned_levels == expected
    joint = levels["class", "instance"].to_data_parameters()
    temperature = joint(torch.tensor([1]), torch.tensor([2]))
    torch.testing.assert_close(temperature, torch.tensor([2.2]))


def test_rows_on_the_bounds_stay_there() -> None:
    found = checkpoint(log_class=None, log_instance=[1 / 20, 1.0, 20.0])
    tables = found.to_data_parameters()
    assert found.log_instance is not None
    assert tables.log_instance is not None
    assert torch.equal(tables.log_instance, found.log_instance)


def test_temperatures_outside_the_bounds_need_wider_ones() -> None:
    found = checkpoint(log_class=None, log_instance=[0.001, 1.0, 300.0])
    with pytest.raises(ValueError, match=r"Found 0.001 to 300. Pass `bounds=None`"):
        found.to_data_parameters()
    for bounds in (None, (0.0005, 400.0)):
        tables = found.to_data_parameters(bounds=bounds)
        assert tables.bounds == bounds
        assert found.log_instance is not None
        assert tables.log_instance is not None
        assert torch.equal(tables.log_instance, found.log_instance)
    for value in (float("nan"), float("inf")):
        diverged = checkpoint(log_class=None, log_instance=[1.0, value])
        with pytest.raises(ValueError, match="should be finite"):
            diverged.to_data_parameters(bounds=None)


def test_levels_that_are_not_there_are_refused() -> None:
    plain = checkpoint(log_class=[1.0, 1.0], log_instance=None)
    with pytest.raises(ValueError, match="take the weights alone"):
        plain.to_data_parameters()
    with pytest.raises(ValueError, match=r"which has \['class'\]. Found \['instance'\]"):
        plain.to_data_parameters(levels=("instance",))
    assert plain.to_data_parameters(levels=("class",)).log_instance is None


def test_a_missing_table_is_none(tmp_path: Path) -> None:
    content = artifacts()
    del content["class_parameters"]
    found = load_published_checkpoint(save(tmp_path / "epoch_0.pth.tar", content))
    assert found.log_class is None
    assert found.log_instance is not None


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: np.array([x], dtype=object)])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path, as_zip: bool, wrap: Any) -> None:
    trace = tmp_path / "was_here"
    content = artifacts(arch=wrap(Malicious(trace)))
    path = save(tmp_path / "epoch_0.pth.tar", content, as_zip=as_zip)
    with pytest.raises(ValueError, match=r"epoch_0.pth.tar should"):
        load_published_checkpoint(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)  # so the test would have noticed
    assert trace.exists()


def test_what_is_imported_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "epoch_0.pth.tar", artifacts(arch=Malicious(tmp_path / "x")))
    with pytest.raises(ValueError, match=r"import \w+.mkdir; nothing was run"):
        load_published_checkpoint(path)


def test_nothing_stays_allowed(tmp_path: Path) -> None:
    before = set(torch.serialization.get_safe_globals())
    path = save(tmp_path / "epoch_0.pth.tar", artifacts())
    load_published_checkpoint(path)
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "legacy"])
def test_a_truncated_file_is_named(tmp_path: Path, as_zip: bool) -> None:
    path = save(tmp_path / "epoch_7.pth.tar", artifacts(), as_zip=as_zip)
    whole = path.read_bytes()
    for size in range(0, len(whole) - 1, 97):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"epoch_7.pth.tar should be .* copy it anew"):
            load_published_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "Found list"),
        ({"epoch": 1, "arch": "resnet18", "state_dict": {}}, "should hold arch, class_parameters"),
        (artifacts(state_dict={"weight": 1.0}), "map names to tensors"),
        (artifacts(state_dict=[torch.ones(1)]), "map names to tensors"),
        (artifacts(epoch="84"), "a count and a name"),
        (artifacts(inst_parameters=[0.0]), "`inst_parameters` .* Found list"),
        (artifacts(inst_parameters=np.zeros((2, 2))), r"float64 of shape \(2, 2\)"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_published_checkpoint(save(tmp_path / "epoch_0.pth.tar", content))


def test_another_file_and_none_at_all(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a checkpoint")
    with pytest.raises(ValueError, match=r"notes.txt should be an epoch_N.pth.tar"):
        load_published_checkpoint(text)
    with pytest.raises(FileNotFoundError):
        load_published_checkpoint(tmp_path / "absent.pth.tar")
