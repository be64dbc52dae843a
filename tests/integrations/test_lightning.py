"""Lightning trains the tables of the plain loop, whatever happens on the way."""

import re
import runpy
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close
from torch.utils.data import DataLoader, DistributedSampler

import lightning_run
from data_parameters import DataParameters, IndexedDataset, SparseSGD, TrainingDynamics
from data_parameters.integrations.lightning import DataParametersCallback, IndexedLoader
from lightning_run import (
    MODEL_OVERFLOWS,
    TABLES_OVERFLOW,
    Classifier,
    Stop,
    fit,
    fit_float16,
    loader,
    plain_loop,
    save_every_step,
)
from processes import torchrun
from small_training import (
    NUM_CLASSES,
    NUM_INSTANCES,
    assert_same,
    data_parts,
    model,
    train_set,
)

pytestmark = [
    # Lightning's own, which we can't mend.
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*number of training batches .* smaller than the logging"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]
ROOT = Path(__file__).parents[2]
TABLES = ("log_class", "log_instance")


class Data(LightningDataModule):
    def train_dataloader(self) -> IndexedLoader:
        return loader()


@pytest.mark.parametrize("make_loader", [loader, Data])
def test_same_tables_as_the_plain_loop(make_loader: Any) -> None:
    assert_same(fit(train_loader=make_loader()), plain_loop())


# Within an epoch, with and without workers that read ahead; at its end.
@pytest.mark.parametrize(("steps_saved", "num_workers"), [(8, 0), (8, 1), (6, 0)])
def test_a_stopped_run_goes_on(steps_saved: int, num_workers: int, tmp_path: Path) -> None:
    stop = Stop(after=steps_saved + 1)  # before the checkpoint of that step
    with pytest.raises(InterruptedError):
        fit(save_every_step(tmp_path), stop, train_loader=loader(num_workers=num_workers))
    found = fit(
        save_every_step(tmp_path),
        train_loader=loader(num_workers=num_workers),
        ckpt_path=tmp_path / "last.ckpt",
    )
    assert_same(found, plain_loop())


def test_accumulation_is_one_large_minibatch() -> None:
    indexed = IndexedDataset(train_set())
    whole = fit(train_loader=DataLoader(indexed, batch_size=6))
    halves = fit(train_loader=DataLoader(indexed, batch_size=3), accumulate_grad_batches=2)
    assert_same(halves, whole)


class Manual(Classifier):
    """Two optimizers, which step one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        loss = super().training_step(batch, batch_idx)
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        parts = [[self.model.weight], [self.model.bias]]
        return [torch.optim.SGD(part, lr=0.1, momentum=0.9) for part in parts]


def test_manual_optimization_with_two_optimizers() -> None:
    assert_same(fit(classifier=Manual()), plain_loop())


def test_half_precision_leaves_the_tables_in_full() -> None:
    found = fit(precision="bf16-mixed")
    expected = plain_loop()
    for name in TABLES:
        assert found[name].dtype == torch.float32
        assert_close(found[name], expected[name], rtol=0, atol=0.1)


def assert_skipped(found: dict[str, Tensor]) -> None:
    """Overflows moved no row, and left nothing behind for the next minibatch."""
    moved = [number not in (MODEL_OVERFLOWS, TABLES_OVERFLOW) for number in range(1, 18)]
    assert found["moved"].tolist() == moved
    assert found["scale"] == 2.0  # of 8: halved twice
    expected = plain_loop(skipped_step=MODEL_OVERFLOWS, skipped_data_step=TABLES_OVERFLOW)
    for name in TABLES:
        assert_close(found[name], expected[name], rtol=0, atol=0.03)


def test_a_step_that_the_loss_scaler_skips_moves_no_row() -> None:
    assert_skipped(fit_float16(torch.amp.GradScaler("cpu", init_scale=8.0)))


def test_gradients_without_a_skipped_step_are_unscaled() -> None:
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=1024.0))
    found, expected = fit(plugins=[plugin]), plain_loop()
    for name in TABLES:
        assert_close(found[name], expected[name], rtol=0, atol=0.03)


def test_the_tables_are_no_part_of_the_module() -> None:
    classifier = Classifier()
    found = fit(classifier=classifier)
    assert set(classifier.state_dict()) == {"model.weight", "model.bias"}
    callback = classifier.data_parameters
    assert_close(callback.data_parameters.log_instance.detach(), found["log_instance"])
    optimizer = classifier.trainer.optimizers[0]
    steps = torch.zeros(NUM_INSTANCES)
    callback(torch.zeros(1, dtype=torch.int64), torch.tensor([3])).sum().backward()
    optimizer.step()  # after the training it steps the model alone
    assert_close(callback.data_parameters.log_instance.detach() - found["log_instance"], steps)


def test_statistics_are_logged(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    fit(logger=logger)
    text = Path(logger.log_dir, "metrics.csv").read_text()
    header, *rows = text.splitlines()
    assert {"data_parameters/instance/mean", "data_parameters/class/highest"} < set(
        header.split(",")
    )
    assert len(rows) == 3


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "examples" / "lightning_callback.py"), run_name="__main__")
    found = re.search(r"(\d+)% have a wrong label", capsys.readouterr().out)
    assert found is not None
    assert int(found[1]) > 60  # a fifth of all labels are wrong


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [code] = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs/stacks/lightning.md").read_text(), flags=re.DOTALL
    )
    names = {
        "torch": torch,
        "DataParameters": DataParameters,
        "SparseSGD": SparseSGD,
        "TrainingDynamics": TrainingDynamics,
        "LightningModule": LightningModule,
        "Trainer": partial(Trainer, logger=False, enable_progress_bar=False, accelerator="cpu"),
        "train_set": train_set(),
        "model": model(),
    }
    exec(code, names)
    assert (names["tables"].log_instance != 0).all()


# Bad use.


def test_no_index_in_the_minibatch() -> None:
    with pytest.raises(ValueError, match=r"a list of 2.* Use IndexedLoader\(train_set"):
        fit(train_loader=DataLoader(train_set(), batch_size=8))


def test_a_collator_that_drops_the_index() -> None:
    def collate(samples: list[Any]) -> dict[str, Tensor]:
        inputs, target, _ = zip(*samples, strict=True)
        return {"inputs": torch.stack(inputs), "target": torch.stack(target)}

    with pytest.raises(ValueError, match=r"the keys .* a collator of your own has to keep"):
        fit(train_loader=loader(collate_fn=collate))


@pytest.mark.parametrize(
    "batch",
    [
        [torch.zeros(3, 2), torch.zeros(3, 4), torch.arange(3)],
        {"x": torch.zeros(3, 2), "y": torch.zeros(3, 4), "index": torch.arange(3)},
        {"x": torch.zeros(3, 2), "y": torch.arange(3), "row": torch.arange(3)},
        [torch.arange(3), (torch.zeros(3, 2), torch.arange(3))],
    ],
)
def test_minibatches_of_any_kind_may_hold_an_index(batch: Any) -> None:
    tables, optimizer, _ = data_parts()
    DataParametersCallback(tables, optimizer).on_train_batch_start(None, None, batch, 0)


def test_class_level_needs_no_index() -> None:
    tables = DataParameters(num_classes=NUM_CLASSES)
    callback = DataParametersCallback(tables, SparseSGD(tables.param_groups(lr_class=0.1)))

    class ByClass(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return self.data_parameters.cross_entropy(self.model(batch[0]), batch[1])

    trainer = Trainer(callbacks=[callback], enable_checkpointing=False, **lightning_run.QUIET)
    trainer.fit(ByClass(), DataLoader(train_set(), batch_size=8))
    assert (tables.log_class != 0).all()


def test_two_optimizers_that_fight_over_the_tables() -> None:
    class Greedy(Classifier):
        def configure_optimizers(self) -> torch.optim.Optimizer:
            tables = self.data_parameters.data_parameters.parameters()
            return torch.optim.SGD([*self.model.parameters(), *tables], lr=0.1)

    with pytest.raises(ValueError, match="Leave them out of `configure_optimizers`"):
        fit(classifier=Greedy())


def test_tables_in_the_module() -> None:
    classifier = Classifier()
    classifier.model.tables = DataParameters(num_classes=NUM_CLASSES)
    with pytest.raises(ValueError, match=r"`model.tables`. Remove it, and use"):
        fit(classifier=classifier)


def test_an_attribute_that_is_taken() -> None:
    classifier = Classifier()
    classifier.data_parameters = "mine"
    with pytest.raises(ValueError, match="another `name`"):
        fit(classifier=classifier)


def test_a_loss_that_asks_for_no_temperature() -> None:
    class Forgetful(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return F.cross_entropy(self.model(batch[0]), batch[1])

    with pytest.raises(RuntimeError, match=r"Return `self.data_parameters.cross_entropy"):
        fit(classifier=Forgetful())


def test_validation_takes_no_temperature() -> None:
    class Validating(Classifier):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.training_step(batch, batch_idx)

    with pytest.raises(RuntimeError, match="called in `training_step`"):
        classifier = Validating()
        tables, optimizer, _ = data_parts()
        callback = DataParametersCallback(tables, optimizer)
        trainer = Trainer(callbacks=[callback], enable_checkpointing=False, **lightning_run.QUIET)
        trainer.fit(classifier, loader(), loader())


def test_another_optimizer_than_that_of_the_tables() -> None:
    tables, _, _ = data_parts()
    with pytest.raises(ValueError, match=r"data_parameters.param_groups"):
        DataParametersCallback(tables, torch.optim.SGD(nn.Linear(2, 2).parameters()))
    optimizer = SparseSGD(tables.param_groups())
    with pytest.raises(ValueError, match=r"num_instances=len\(train_set\)"):
        DataParametersCallback(tables, optimizer, dynamics=TrainingDynamics(7))


def test_a_loader_of_another_size() -> None:
    larger = IndexedLoader(list(train_set()) * 2, batch_size=8)
    with pytest.raises(ValueError, match="`train_dataloader` should have the 42 instances"):
        fit(train_loader=larger)


def test_shared_memory_is_refused() -> None:
    tables, optimizer, _ = data_parts()
    tables.share_memory()
    trainer = Trainer(callbacks=[DataParametersCallback(tables, optimizer)], **lightning_run.QUIET)
    with pytest.raises(ValueError, match='strategy="ddp"'):
        trainer.fit(Classifier(), loader())


def test_repeated_instances_are_warned_of() -> None:
    tables, optimizer, _ = data_parts()
    callback = DataParametersCallback(tables, optimizer)
    indexed = IndexedDataset(train_set())
    for num_replicas, drop_last, warns in ((4, False, True), (4, True, False), (2, False, False)):
        sampler = DistributedSampler(indexed, num_replicas, rank=0, drop_last=drop_last)
        trainer = SimpleNamespace(train_dataloader=DataLoader(indexed, sampler=sampler))
        if warns:
            with pytest.warns(UserWarning, match="repeats 2 instances.*IndexedLoader"):
                callback.on_train_start(trainer, None)
        else:
            callback.on_train_start(trainer, None)


# Checkpoints that do not fit.


def callback_over(
    num_instances: int, labels: Tensor | None = None, *, dynamics: bool = True
) -> DataParametersCallback:
    tables = DataParameters(num_instances=num_instances)
    optimizer = SparseSGD(tables.param_groups(lr_instance=0.2), momentum=0.9)
    gathered = TrainingDynamics(num_instances) if dynamics else None
    callback = DataParametersCallback(tables, optimizer, dynamics=gathered, labels=labels)
    tables(index=torch.arange(num_instances)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    return callback


@pytest.mark.parametrize(
    ("other", "error", "remedy"),
    [
        (callback_over(9), RuntimeError, "belongs to another data set"),
        (callback_over(8, dynamics=False), ValueError, "Give `dynamics` as"),
        (callback_over(8, torch.arange(8).flip(0)), ValueError, "over the same training set"),
    ],
)
def test_a_checkpoint_of_another_run_changes_nothing(
    other: DataParametersCallback, error: type[Exception], remedy: str
) -> None:
    callback = callback_over(8, torch.arange(8))
    before = callback.data_parameters.log_instance.detach().clone()
    with pytest.raises(error, match=remedy):
        callback.load_state_dict(other.state_dict())
    assert torch.equal(callback.data_parameters.log_instance, before)


def test_a_damaged_part_leaves_the_others_as_they_were() -> None:
    callback, other = callback_over(8), callback_over(8)
    other.data_parameters.log_instance.data.fill_(1.0)
    state = other.state_dict()
    state["dynamics"]["count"] = torch.zeros(3, dtype=torch.int64)
    before = callback.data_parameters.log_instance.detach().clone()
    with pytest.raises(ValueError, match="belongs to another data set"):
        callback.load_state_dict(state)
    assert torch.equal(callback.data_parameters.log_instance, before)
    assert_close(
        callback.optimizer.state_dict()["state"][0]["momentum_buffer"],
        callback_over(8).optimizer.state_dict()["state"][0]["momentum_buffer"],
    )


def test_a_checkpoint_without_tables_is_warned_of(tmp_path: Path) -> None:
    class Plain(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return F.cross_entropy(self.model(batch[0]), batch[1])

    saving = [save_every_step(tmp_path), Stop(after=2)]
    trainer = Trainer(callbacks=saving, **lightning_run.QUIET)
    with pytest.raises(InterruptedError):
        trainer.fit(Plain(), loader())
    with pytest.warns(UserWarning, match="its tables start anew"):
        fit(save_every_step(tmp_path), ckpt_path=tmp_path / "last.ckpt")


def test_two_callbacks_have_two_keys() -> None:
    tables, optimizer, _ = data_parts()
    keys = {
        DataParametersCallback(tables, optimizer, name=name).state_key for name in ("one", "two")
    }
    assert len(keys) == 2


# The loader.


def test_a_loader_forgets_a_run_that_was_cut_short() -> None:
    cut = loader()
    iterator = iter(cut)
    next(iterator)
    cut.set_epoch(0)  # a new run begins
    assert sum(len(index) for *_, index in cut) == NUM_INSTANCES


def test_a_loader_of_another_order_is_refused() -> None:
    state = loader().state_dict()
    with pytest.raises(ValueError, match="start a new run"):
        loader(seed=4).load_state_dict(state)
    assert loader(seed=4).state_dict() == {**state, "seed": 4}


# Processes.


@pytest.mark.long
def test_two_processes_train_the_tables_of_one(tmp_path: Path) -> None:
    finished = torchrun(lightning_run.__file__, tmp_path, "whole")
    assert finished.returncode == 0, finished.stderr
    for rank in range(2):
        assert_same(torch.load(tmp_path / f"{rank}.pt"), plain_loop())


@pytest.mark.long
def test_two_processes_that_were_killed_go_on(tmp_path: Path) -> None:
    killed = torchrun(lightning_run.__file__, tmp_path, "kill")
    assert killed.returncode != 0
    assert not list(tmp_path.glob("*.pt"))
    finished = torchrun(lightning_run.__file__, tmp_path, "resume")
    assert finished.returncode == 0, finished.stderr
    for rank in range(2):
        assert_same(torch.load(tmp_path / f"{rank}.pt"), plain_loop())


@pytest.mark.long
def test_two_processes_in_bfloat16(tmp_path: Path) -> None:
    finished = torchrun(lightning_run.__file__, tmp_path, "bfloat16")
    assert finished.returncode == 0, finished.stderr
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert_same(second, first, atol=0)
    expected = fit(precision="bf16-mixed")
    for name in TABLES:
        assert first[name].dtype == torch.float32
        # Rounding of weight gradients differs, because each process sums over its own samples.
        assert_close(first[name], expected[name], rtol=0, atol=0.03)


@pytest.mark.long
def test_an_overflow_in_one_of_two_processes_moves_no_row_in_either(tmp_path: Path) -> None:
    finished = torchrun(lightning_run.__file__, tmp_path, "float16")
    assert finished.returncode == 0, finished.stderr
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert_same(second, first, atol=0)
    assert_skipped(first)
