"""The tables and the lookup."""

import copy
import io
import math
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from data_parameters import DataParameters, SparseSGD, functional


def test_levels() -> None:
    target, index = torch.tensor([0, 1, 0]), torch.tensor([4, 0, 4])
    classes = DataParameters(num_classes=2, init_class=torch.tensor([2.0, 3.0]))
    instances = DataParameters(num_instances=5, init_instance=0.5)
    joint = DataParameters(num_classes=2, num_instances=5, init_class=torch.tensor([2.0, 3.0]))
    torch.testing.assert_close(classes(target).detach(), torch.tensor([2.0, 3.0, 2.0]))
    torch.testing.assert_close(instances(index=index).detach(), torch.full((3,), 0.5))
    torch.testing.assert_close(joint(target, index).detach(), torch.tensor([2.05, 3.05, 2.05]))
    # What a level does not need is ignored, so one loop serves all.
    assert torch.equal(classes(target, index), classes(target))
    assert torch.equal(instances(target, index), instances(index=index))
    assert classes.log_instance is None
    assert instances.class_temperature is None
    torch.testing.assert_close(classes.class_temperature, torch.tensor([2.0, 3.0]))
    assert not instances.instance_temperature.requires_grad


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    joint = DataParameters(num_classes=4, num_instances=7)
    found = joint(torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64))
    assert found.shape == shape
    assert found.dtype == torch.float32
    found.sum().backward()
    assert joint.log_instance.grad.is_sparse


def test_pixels_share_the_instance_of_their_image() -> None:
    joint = DataParameters(num_classes=3, num_instances=5, init_class=torch.tensor([1.0, 2.0, 4.0]))
    target, index = torch.randint(3, (2, 4, 6)), torch.tensor([4, 1])
    expected = joint.class_temperature[target] + 1 / 20
    torch.testing.assert_close(joint(target, index).detach(), expected)
    with pytest.raises(ValueError, match="lack trailing dimensions only"):
        joint(target, torch.tensor([1, 2, 3]))


def test_gradient_has_one_entry_per_occurrence() -> None:
    instances = DataParameters(num_instances=1_000)
    instances(index=torch.tensor([7, 7, 3])).sum().backward()
    grad = instances.log_instance.grad
    assert grad.is_sparse
    assert grad._nnz() == 3
    assert grad.to_dense()[[3, 7]].tolist() == [1.0, 2.0]


def test_gradient_is_that_of_dense_indexing() -> None:
    joint = DataParameters(num_classes=4, num_instances=6).double()
    target, index = torch.tensor([0, 3, 3]), torch.tensor([5, 5, 1])
    factor = torch.randn(3, dtype=torch.float64)
    tables = [t.detach().clone().requires_grad_() for t in (joint.log_class, joint.log_instance)]
    (factor * joint(target, index)).sum().backward()
    (factor * (tables[0][target].exp() + tables[1][index].exp())).sum().backward()
    for found, expected in zip((joint.log_class, joint.log_instance), tables, strict=True):
        torch.testing.assert_close(found.grad.to_dense(), expected.grad)


def test_ignored_targets_touch_no_row() -> None:
    classes = DataParameters(num_classes=3, init_class=2.0)
    optimizer = SparseSGD(classes.param_groups(lr_class=0.1, weight_decay_class=0.5), momentum=0.9)
    before = classes.log_class.detach().clone()
    temperature = classes(torch.tensor([-100, 1, -100]))
    assert temperature[0] == 1.0
    temperature.sum().backward()
    optimizer.step()
    moved = classes.log_class.detach() != before
    assert moved.tolist() == [False, True, False]


def test_initial_value_outside_the_bounds_starts_on_the_bound_with_one_warning() -> None:
    with pytest.warns(UserWarning, match="Widen `bounds`") as caught:
        instances = DataParameters(num_instances=3, init_instance=torch.tensor([0.001, 1.0, 50.0]))
    assert len(caught) == 1
    expected = torch.tensor([1 / 20, 1.0, 20.0])
    torch.testing.assert_close(instances.instance_temperature, expected)
    free = DataParameters(num_instances=3, init_instance=0.001, bounds=None)
    torch.testing.assert_close(free.instance_temperature, torch.full((3,), 0.001))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DataParameters(num_classes=2, num_instances=3)  # 1/20 is on the bound, not outside


def test_param_groups() -> None:
    joint = DataParameters(num_classes=2, num_instances=3, bounds=(0.05, 4.0))
    groups = joint.param_groups(lr_class=0.1, weight_decay_instance=1e-4)
    assert [group["name"] for group in groups] == ["class", "instance"]
    assert groups[0]["lr"] == 0.1
    assert "lr" not in groups[1]
    assert groups[1]["weight_decay"] == 1e-4
    assert groups[0]["bounds"] == (math.log(0.05), math.log(4.0))
    assert groups[0]["params"][0] is joint.log_class
    optimizer = SparseSGD(groups, lr=7.0)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 7.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Give the number of classes"),
        ({"num_classes": 0}, "an integer above 0"),
        ({"num_instances": -3}, "an integer above 0"),
        ({"num_instances": 6.0}, "an integer above 0"),
        ({"num_instances": True}, "an integer above 0"),
        ({"num_classes": 2, "init_class": 0.0}, "positive and finite"),
        ({"num_classes": 2, "init_class": -1.0}, "not its logarithm"),
        ({"num_classes": 2, "init_class": float("nan")}, "positive and finite"),
        ({"num_classes": 2, "init_class": torch.tensor([1.0, torch.inf])}, "positive and finite"),
        ({"num_classes": 2, "init_class": torch.ones(3)}, "one for each of the 2 rows"),
        ({"num_classes": 2, "bounds": (20.0, 0.05)}, "0 < low < high"),
        ({"num_classes": 2, "bounds": (0.0, 1.0)}, "0 < low < high"),
        ({"num_classes": 2, "bounds": (1.0, math.inf)}, "0 < low < high"),
        ({"num_classes": 2, "bounds": (math.nan, 1.0)}, "0 < low < high"),
        ({"num_classes": 2, "bounds": (1.0,)}, "0 < low < high"),
    ],
)
def test_wrong_construction(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataParameters(**arguments)


def test_wrong_lookups() -> None:
    joint = DataParameters(num_classes=3, num_instances=5)
    target, index = torch.tensor([0, 1]), torch.tensor([2, 3])
    with pytest.raises(ValueError, match="IndexedDataset adds the index"):
        joint(target)
    with pytest.raises(ValueError, match="`target` should be given"):
        joint(index=index)
    with pytest.raises(TypeError, match=r"\.long\(\)"):
        joint(target, index.float())
    with pytest.raises(TypeError, match="should hold integers"):
        joint(target > 0, index)
    for wrong in (-1, 5, 2**40):
        with pytest.raises(IndexError, match=rf"\[0, 4\].*Found {wrong}\..*Likely causes"):
            joint(target, torch.tensor([2, wrong]))
    for wrong in (3, -1, -99):
        with pytest.raises(IndexError, match=rf"\[0, 2\].*Found {wrong}\."):
            joint(torch.tensor([0, wrong]), index)
    assert joint.log_instance.grad is None


def test_a_loader_may_reuse_the_memory_of_its_index() -> None:
    instances = DataParameters(num_instances=10)
    optimizer = SparseSGD(instances.parameters(), lr=0.1)
    buffer = torch.tensor([0, 1])
    instances(index=buffer).sum().backward()
    buffer.copy_(torch.tensor([4, 5]))
    optimizer.step()
    assert instances.log_instance.detach().nonzero().flatten().tolist() == [0, 1]


def test_an_ignored_sample_that_is_not_finite_touches_no_row() -> None:
    classes = DataParameters(num_classes=3)
    logits = torch.randn(3, 3)
    logits[1] = torch.nan
    target = torch.tensor([0, -100, 2])
    functional.cross_entropy(logits, target, classes(target)).backward()
    SparseSGD(classes.parameters(), lr=0.1).step()
    assert classes.log_class.isfinite().all()
    assert (classes.log_class.detach() != 0).tolist() == [True, False, True]


def test_rows_may_lie_on_another_device() -> None:
    """On the meta device values do not exist, so only what is moved there can be looked up."""
    joint = DataParameters(num_classes=3, num_instances=4, device="meta")
    temperature = joint(torch.tensor([0, -100]), torch.tensor([1, 3]))
    assert temperature.device.type == "meta"
    assert temperature.shape == (2,)
    with pytest.raises(IndexError, match=r"\[0, 3\]"):
        joint(torch.tensor([0, 1]), torch.tensor([1, 4]))
    logits = torch.zeros(2, 3, device="meta")
    target = torch.zeros(2, dtype=torch.int64, device="meta")
    assert functional.cross_entropy(logits, target, torch.ones(2)).device.type == "meta"


def test_frozen_tables() -> None:
    joint = DataParameters(num_classes=3, num_instances=4).requires_grad_(False)
    assert not joint(torch.tensor([0]), torch.tensor([1])).requires_grad
    joint.log_class.requires_grad_(True)
    joint(torch.tensor([0]), torch.tensor([1])).sum().backward()
    assert joint.log_instance.grad is None


def test_list_as_index() -> None:
    with pytest.raises(TypeError, match="should be a tensor of integers"):
        DataParameters(num_instances=4)(index=[0, 1])


@pytest.mark.parametrize("wrong", [torch.float16, torch.int64])
def test_assigning_another_type_changes_nothing(wrong: torch.dtype) -> None:
    joint = DataParameters(num_classes=3, num_instances=4)
    state = {name: value + 1 for name, value in joint.state_dict().items()}
    state["log_instance"] = state["log_instance"].to(wrong)
    with pytest.raises(RuntimeError, match="log_instance"):
        joint.load_state_dict(state, assign=True)
    assert torch.equal(joint.log_class, torch.zeros(3))


@pytest.mark.parametrize(
    "dtype", [torch.int32, torch.uint8, torch.int16, torch.uint16, torch.uint32, torch.uint64]
)
def test_any_integer_type(dtype: torch.dtype) -> None:
    classes = DataParameters(num_classes=5, init_class=torch.arange(1.0, 6.0))
    expected = torch.tensor([2.0, 3.0])
    torch.testing.assert_close(classes(torch.tensor([1, 2], dtype=dtype)).detach(), expected)


def test_a_class_in_uint8_is_not_taken_for_the_ignored_one() -> None:
    """In uint8, torch takes -100 for 156."""
    classes = DataParameters(num_classes=200, init_class=3.0)
    target = torch.tensor([156, 255], dtype=torch.uint8)
    with pytest.raises(IndexError, match=r"Found 255\."):
        classes(target)
    torch.testing.assert_close(classes(target[:1]).detach(), torch.tensor([3.0]))
    segmentation = DataParameters(num_classes=200, init_class=3.0, ignore_index=255)
    torch.testing.assert_close(segmentation(target).detach(), torch.tensor([3.0, 1.0]))


@pytest.mark.parametrize("count", [np.int64(3), np.uint8(3), torch.tensor(3)])
def test_any_integer_is_a_count(count: Any) -> None:
    assert DataParameters(num_classes=count).log_class.shape == (3,)


def test_a_look_in_inference_mode_comes_before_training() -> None:
    instances = DataParameters(num_instances=4)
    with torch.inference_mode():
        assert instances(index=torch.tensor([1])) == 1.0
    instances(index=torch.tensor([2])).sum().backward()
    SparseSGD(instances.parameters(), lr=0.1).step()
    assert instances.log_instance.detach().nonzero().flatten().tolist() == [2]


def test_default_device() -> None:
    with torch.device("meta"):
        joint = DataParameters(num_classes=3, num_instances=4)
    assert joint.log_class.is_meta
    assert joint.log_instance.is_meta


def test_module_moves_but_keeps_its_precision() -> None:
    model = nn.Sequential(nn.Linear(2, 2), DataParameters(num_classes=3)).half()
    assert model[0].weight.dtype == torch.float16
    assert model[1].log_class.dtype == torch.float32
    assert model.bfloat16()[1].log_class.dtype == torch.float32
    assert model.double()[1].log_class.dtype == torch.float64


@pytest.mark.parametrize("duplicate", ["deepcopy", "pickle"])
def test_copies_are_independent_and_train(duplicate: str) -> None:
    original = DataParameters(num_classes=3, num_instances=4)
    original(torch.tensor([1]), torch.tensor([2])).sum().backward()
    copied = (
        copy.deepcopy(original) if duplicate == "deepcopy" else pickle.loads(pickle.dumps(original))
    )
    assert copied.bounds == original.bounds
    optimizer = SparseSGD(copied.param_groups(), lr=0.5)
    optimizer.zero_grad()
    (-copied(torch.tensor([0]), torch.tensor([3]))).sum().backward()
    optimizer.step()
    assert original.log_instance[3] == torch.tensor(1 / 20).log()
    assert copied.log_instance[3] != original.log_instance[3]


def test_state_dict_round_trip() -> None:
    joint = DataParameters(num_classes=3, num_instances=4)
    with torch.no_grad():
        joint.log_instance[1] = 0.25
    file = io.BytesIO()
    torch.save(joint.state_dict(), file)
    file.seek(0)
    loaded = DataParameters(num_classes=3, num_instances=4)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(loaded.log_instance, joint.log_instance)


@pytest.mark.parametrize(
    "other",
    [
        {"num_classes": 3, "num_instances": 5},
        {"num_classes": 2, "num_instances": 4},
        {"num_classes": 3},
        {"num_instances": 4},
    ],
)
def test_state_dict_of_another_size_changes_nothing(other: dict[str, int]) -> None:
    joint = DataParameters(num_classes=3, num_instances=4)
    source = DataParameters(**other, init_class=3.0, init_instance=3.0)
    before = copy.deepcopy(joint.state_dict())
    with pytest.raises(RuntimeError, match="checkpoint"):
        joint.load_state_dict(source.state_dict())
    for name, value in joint.state_dict().items():
        assert torch.equal(value, before[name])


def test_state_dict_with_non_finite_values_changes_nothing() -> None:
    joint = DataParameters(num_classes=3, num_instances=4)
    state = {name: value + 1 for name, value in joint.state_dict().items()}
    state["log_instance"][2] = torch.nan
    with pytest.raises(RuntimeError, match="non-finite"):
        joint.load_state_dict(state)
    assert torch.equal(joint.log_class, torch.zeros(3))


def test_partial_loading_when_asked() -> None:
    joint = DataParameters(num_classes=3, num_instances=4)
    result = joint.load_state_dict({"log_class": torch.full((3,), 0.5)}, strict=False)
    assert result.missing_keys == ["log_instance"]
    assert joint.log_class[0] == 0.5


def test_printed_form() -> None:
    shown = repr(DataParameters(num_classes=3, num_instances=4))
    assert "num_classes=3, num_instances=4" in shown
