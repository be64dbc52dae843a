"""Data parameters in timm."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
import torch.nn.functional as F
from PIL import Image
from timm.data import Mixup, create_dataset, create_loader
from timm.task import resume_task_checkpoint
from timm.utils import CheckpointSaver
from torch import nn
from torch.testing import assert_close
from torch.utils.data import IterableDataset, Subset, TensorDataset

from data_parameters import DataParameters, SparseSGD, TrainingDynamics, functional
from data_parameters.integrations.timm import DataParametersTask, IndexedMixup, index_targets
from timm_steps import (
    NUM_CLASSES,
    NUM_INSTANCES,
    make_model,
    make_task,
    minibatches,
    process,
    train,
)

ROOT = Path(__file__).parents[2]


def tables_of(task: DataParametersTask) -> dict[str, Any]:
    return dict(task.data_parameters.state_dict())


def state_of(task: DataParametersTask) -> dict[str, Any]:
    state = task.get_task_state()
    state["data_optimizer"] = state["data_optimizer"]["state"]
    return {**state, "model": dict(task.trainable_module.state_dict())}


def test_tables_are_those_of_the_plain_loop() -> None:
    task, optimizer = make_task()
    train(task, optimizer, minibatches())

    tables = DataParameters(num_classes=NUM_CLASSES, num_instances=NUM_INSTANCES)
    groups = tables.param_groups(lr_class=0.1, lr_instance=0.8, weight_decay_class=0.01)
    data_optimizer = SparseSGD(groups, momentum=0.9)
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    dynamics = TrainingDynamics(NUM_INSTANCES)
    for images, packed in minibatches():
        target, index = packed.unbind(1)
        logits = model(images)
        loss = functional.cross_entropy(logits, target, tables(target, index))
        optimizer.zero_grad()
        data_optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        data_optimizer.step()
        dynamics.update(logits.detach(), target, index)
    assert_close(tables_of(task), dict(tables.state_dict()), rtol=0, atol=1e-5)
    assert_close(task.trainable_module.state_dict(), model.state_dict(), rtol=0, atol=1e-5)
    assert_close(task.dynamics.state_dict(), dynamics.state_dict(), rtol=0, atol=1e-5)


def test_two_accumulated_minibatches_are_one_of_twice_the_size() -> None:
    whole, optimizer = make_task()
    train(whole, optimizer, minibatches())
    halved, optimizer = make_task()
    for images, target in minibatches():
        optimizer.zero_grad()
        for half in (slice(0, None, 2), slice(1, None, 2)):
            (halved(images[half], target[half])["loss"] / 2).backward()
        optimizer.step()
    assert_close(tables_of(halved), tables_of(whole), rtol=0, atol=1e-5)


def test_resumed_in_mid_epoch_from_timms_checkpoint(tmp_path: Path) -> None:
    unbroken, optimizer = make_task()
    train(unbroken, optimizer, minibatches())

    killed, optimizer = make_task()
    train(killed, optimizer, minibatches()[:5])
    model = killed.trainable_module
    saver = CheckpointSaver(model, optimizer, task=killed, recovery_dir=str(tmp_path))
    saver.save_recovery(0, batch_idx=5)

    resumed, optimizer = make_task()
    assert resume_task_checkpoint(resumed, saver.curr_recovery_file, optimizer) == 1
    train(resumed, optimizer, minibatches()[5:])
    # Tables, their optimizer, dynamics and model, to the bit.
    assert_close(state_of(resumed), state_of(unbroken), rtol=0, atol=0)


@pytest.mark.long
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    task, optimizer = make_task()
    train(task, optimizer, minibatches())
    expected = {**tables_of(task), **task.trainable_module.state_dict()}
    mp.spawn(process, (str(tmp_path / "rendezvous"), str(tmp_path)), nprocs=2)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_model_s_parameters_are_the_task_s_parameters() -> None:
    task, _ = make_task()
    assert set(task.parameters()) == set(task.trainable_module.parameters())
    assert not [name for name in task.state_dict() if "log_" in name]


def test_bfloat16_autocast_leaves_the_tables_in_float32() -> None:
    task, optimizer = make_task()
    for images, target in minibatches():
        with torch.autocast("cpu", torch.bfloat16):
            loss = task(images, target)["loss"]
        loss.backward()
        optimizer.step()
    assert task.data_parameters.log_instance.dtype == torch.float32
    assert (task.data_parameters.log_instance != -2.9957).all()


def test_averaged_weights_have_no_state_of_their_own() -> None:
    task, optimizer = make_task()
    task.setup_ema()
    train(task, optimizer, minibatches()[:2])
    task.update_ema()
    assert "task_state" in task.get_checkpoint_state()
    assert task.get_checkpoint_state(ema=True).keys() == {"state_dict_ema"}


@pytest.fixture(name="folder", scope="module")
def make_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images of three classes; the brightness is the row. Image 4 cannot be read."""
    folder = tmp_path_factory.mktemp("images")
    for row in range(12):
        path = folder / f"class{row // 4}" / f"{row:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (row * 20,) * 3).save(path)
    (folder / "class1" / "04.png").write_bytes(b"no image")
    return folder


# timm leaves the files of a folder to be closed by the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("use_prefetcher", [True, False])
def test_an_image_that_cannot_be_read_lends_nobody_its_index(
    folder: Path, use_prefetcher: bool
) -> None:
    plain = create_dataset("", root=str(folder), class_map="")
    train_set = index_targets(plain)
    loader = create_loader(
        train_set,
        (3, 8, 8),
        batch_size=4,
        is_training=True,
        no_aug=True,
        num_workers=0,
        use_prefetcher=use_prefetcher,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        device=torch.device("cpu"),
    )
    met = []
    for images, target in loader:
        label, index = target.unbind(1)
        assert_close(images[:, 0, 0, 0], index * 20 / 255, check_dtype=False)
        assert (label == index // 4).all()
        met += index.tolist()
    assert sorted(met) == [0, 1, 2, 3, 5, 5, 6, 7, 8, 9, 10, 11]
    assert train_set.filenames() == plain.filenames()
    assert plain[0][1] == 0  # the data set that was given is as it was
    with pytest.raises(ValueError, match="Use it as it is"):
        index_targets(train_set)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_transform_of_the_label_sees_the_label_alone(folder: Path) -> None:
    plain = create_dataset("", root=str(folder), class_map="")
    plain.target_transform = lambda label: label + 1
    assert index_targets(plain)[9][1].tolist() == [3, 9]


def test_other_data_sets_are_indexed_too() -> None:
    labels = torch.tensor([2, 0, 1])
    train_set = index_targets(TensorDataset(torch.zeros(3, 3, 4, 4), labels))
    assert [target.tolist() for _, target in train_set] == [[2, 0], [0, 1], [1, 2]]
    subset = Subset([("an image", 4)] * 3, [0, 1, 2])  # fetches whole minibatches
    assert [target.tolist() for _, target in index_targets(subset).__getitems__([2, 0])] == [
        [4, 2],
        [4, 0],
    ]


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        return iter([])


def test_a_stream_is_refused() -> None:
    with pytest.raises(TypeError, match="stable row of its own"):
        index_targets(Stream())


def test_a_target_without_index_is_refused() -> None:
    task, _ = make_task()
    images, target = minibatches()[0]
    with pytest.raises(ValueError, match="index_targets"):
        task(images, target[:, 0])


def test_timms_own_mixup_is_refused() -> None:
    task, _ = make_task()
    images, target = minibatches()[0]
    with pytest.raises(ValueError, match="IndexedMixup"):
        task(*Mixup(num_classes=NUM_INSTANCES)(images.clone(), target))


@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
@pytest.mark.parametrize("settings", [{"mixup_alpha": 1.0}, {"mixup_alpha": 0, "cutmix_alpha": 1}])
def test_mixed_samples_keep_both_temperatures(mode: str, settings: dict[str, float]) -> None:
    """share * l(z / sigma_i, y_i) + (1 - share) * l(z / sigma_j, y_j); the mean over the batch."""
    task, optimizer = make_task()
    train(task, optimizer, minibatches())
    counted = task.dynamics.count
    images, target = minibatches()[0]
    np.random.seed(0)
    mixed, (own, partner, share) = IndexedMixup(mode=mode, **settings)(images.clone(), target)
    if "cutmix_alpha" not in settings:
        expected = share[:, None, None, None] * images
        assert_close(mixed, expected + (1 - share)[:, None, None, None] * images.flip(0))
    assert torch.equal(own, target)
    assert torch.equal(partner, target.flip(0))
    assert ((share > 0) & (share < 1)).all()

    loss = task(mixed, (own, partner, share))["loss"]
    logits, terms = task.trainable_module(mixed), []
    for row in range(len(target)):
        for source, weight in ((row, share[row]), (len(target) - 1 - row, 1 - share[row])):
            label, index = target[source]
            sigma = task.data_parameters(label, index)
            terms.append(weight * F.cross_entropy(logits[row] / sigma, label))
    assert_close(loss, torch.stack(terms).sum() / len(target))
    loss.backward()
    optimizer.step()
    assert torch.equal(task.dynamics.count, counted)


def test_float16_autocast_is_refused() -> None:
    task, _ = make_task()
    with torch.autocast("cpu", torch.float16), pytest.raises(ValueError, match="bfloat16"):
        task(*minibatches()[0])


def test_tables_inside_the_model_are_refused() -> None:
    tables = DataParameters(num_instances=NUM_INSTANCES)
    optimizer = SparseSGD(tables.param_groups())
    with pytest.raises(ValueError, match="Take them out of the model"):
        DataParametersTask(nn.Sequential(make_model(), tables), tables, optimizer)


def test_one_optimizer_moves_the_tables() -> None:
    task, _ = make_task()
    both = SparseSGD(task.data_parameters.param_groups())
    with pytest.raises(ValueError, match=r"create_optimizer_v2\(model\)"):
        task.follow(both)
    with pytest.raises(ValueError, match=r"data_parameters.param_groups\(\.\.\.\)"):
        DataParametersTask(make_model(), DataParameters(num_instances=3), both)


def test_the_state_of_another_data_set_changes_nothing() -> None:
    task, optimizer = make_task()
    train(task, optimizer, minibatches())
    before = {name: value.clone() for name, value in tables_of(task).items()}
    other = make_task(num_instances=7)[0].get_task_state()
    with pytest.raises(RuntimeError, match="another data set"):
        task.load_task_state(other)
    # The tables fit, the dynamics don't: the tables go back, too.
    mixed = {**make_task()[0].get_task_state(), "dynamics": other["dynamics"]}
    with pytest.raises(ValueError, match="another data set"):
        task.load_task_state(mixed)
    assert_close(tables_of(task), before, rtol=0, atol=0)
    with pytest.raises(ValueError, match="Resume a run of the same task"):
        task.load_task_state(None)


def test_documented_lines_run() -> None:
    page = (ROOT / "docs" / "stacks" / "timm.md").read_text(encoding="utf-8")
    [lines] = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    model = make_model()
    names = {
        "train_set": TensorDataset(torch.zeros(3, 3, 4, 4), torch.tensor([2, 0, 1])),
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
    }
    exec(lines, names)
    images, targets = zip(*names["train_set"], strict=True)
    names["task"](torch.stack(images), torch.stack(targets))["loss"].backward()
    names["optimizer"].step()
    assert (names["data_parameters"].log_instance != 0).all()


def test_example() -> None:
    output = subprocess.run(
        [sys.executable, ROOT / "examples" / "timm_task.py"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    share = int(output.splitlines()[-1].split("%")[0].split()[-1])
    assert share > 80
