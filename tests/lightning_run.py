"""One small training, in a plain loop and in Lightning. A process of torchrun starts here."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from data_parameters import DataParameters, SparseSGD, TrainingDynamics, functional
from data_parameters.distributed import GlobalBatchSampler
from data_parameters.integrations.lightning import DataParametersCallback, IndexedLoader

# Minibatches of 7 for 2 processes: uneven ones.
NUM_INSTANCES, NUM_CLASSES, NUM_FEATURES, BATCH_SIZE, NUM_EPOCHS = 42, 4, 5, 8, 3
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "max_epochs": NUM_EPOCHS,
}


def train_set() -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(NUM_INSTANCES, NUM_FEATURES, generator=generator)
    target = torch.randint(NUM_CLASSES, (NUM_INSTANCES,), generator=generator)
    return TensorDataset(inputs, target)


def model() -> nn.Linear:
    linear = nn.Linear(NUM_FEATURES, NUM_CLASSES)
    generator = torch.Generator().manual_seed(2)
    for parameter in linear.parameters():
        parameter.data.normal_(generator=generator)
    return linear


def data_parts() -> tuple[DataParameters, SparseSGD, TrainingDynamics]:
    tables = DataParameters(num_classes=NUM_CLASSES, num_instances=NUM_INSTANCES)
    groups = tables.param_groups(lr_class=0.1, lr_instance=0.8, weight_decay_instance=0.01)
    return tables, SparseSGD(groups, momentum=0.9), TrainingDynamics(NUM_INSTANCES)


def loader(**options: Any) -> IndexedLoader:
    return IndexedLoader(train_set(), **{"batch_size": BATCH_SIZE, "seed": 3, **options})


def result(
    tables: DataParameters, optimizer: SparseSGD, dynamics: TrainingDynamics, model: nn.Module
) -> dict[str, Tensor]:
    buffers = {
        f"{group['name']}.momentum": optimizer.state[group["params"][0]]["momentum_buffer"]
        for group in optimizer.param_groups
    }
    found = {**tables.state_dict(), **buffers, **dynamics.state_dict(), **model.state_dict()}
    return {name: value.clone() for name, value in found.items()}


def plain_loop(skipped_step: int | None = None) -> dict[str, Tensor]:
    """Without Lightning, and without anything of the integration."""
    step = 0
    inputs, target = train_set().tensors
    net, (tables, data_optimizer, dynamics) = model(), data_parts()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    order = GlobalBatchSampler(range(NUM_INSTANCES), BATCH_SIZE, seed=3)
    for epoch in range(NUM_EPOCHS):
        order.set_epoch(epoch)
        for rows in order:
            index = torch.tensor(rows)
            logits = net(inputs[index])
            temperature = tables(target[index], index)
            optimizer.zero_grad()
            data_optimizer.zero_grad()
            functional.cross_entropy(logits, target[index], temperature).backward()
            if step != skipped_step:
                optimizer.step()
                data_optimizer.step()
            step += 1
            dynamics.update(logits.detach(), target[index], index)
    return result(tables, data_optimizer, dynamics, net)


class Classifier(LightningModule):
    data_parameters: DataParametersCallback

    def __init__(self) -> None:
        super().__init__()
        self.model = model()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        inputs, target, index = batch
        return self.data_parameters.cross_entropy(self.model(inputs), target, index)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)


class Stop(Callback):
    """End the process, or raise, after some minibatches."""

    def __init__(self, after: int, *, kill: bool = False) -> None:
        self.after, self.kill = after, kill

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step == self.after:
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise InterruptedError("stopped by the test")


def save_every_step(folder: Path, num_steps: int = 1) -> ModelCheckpoint:
    return ModelCheckpoint(folder, every_n_train_steps=num_steps, save_last=True, save_top_k=0)


def fit(
    *callbacks: Callback,
    train_loader: Any = None,
    classifier: LightningModule | None = None,
    ckpt_path: Path | None = None,
    **options: Any,
) -> dict[str, Tensor]:
    tables, optimizer, dynamics = data_parts()
    callback = DataParametersCallback(tables, optimizer, dynamics=dynamics)
    saves = any(isinstance(c, ModelCheckpoint) for c in callbacks)
    settings = {**QUIET, "devices": 1, "enable_checkpointing": saves, **options}
    trainer = Trainer(callbacks=[callback, *callbacks], **settings)
    classifier = Classifier() if classifier is None else classifier
    trainer.fit(classifier, loader() if train_loader is None else train_loader, ckpt_path=ckpt_path)
    return result(tables, optimizer, dynamics, classifier.model)


def main() -> None:
    """Under torchrun: FOLDER START, with START ``kill`` or ``resume`` or ``whole``."""
    torch.set_num_threads(1)
    folder, start = Path(sys.argv[1]), sys.argv[2]
    callbacks: list[Callback] = [save_every_step(folder)]
    if start == "kill":
        callbacks.append(Stop(after=9, kill=True))  # before the checkpoint of this step
    found = fit(
        *callbacks,
        ckpt_path=folder / "last.ckpt" if start == "resume" else None,
        strategy="ddp",
        devices=2,
    )
    torch.save(found, folder / f"{os.environ['RANK']}.pt")


if __name__ == "__main__":
    main()
