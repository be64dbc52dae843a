"""One small training, in Lightning. A process of torchrun starts here."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import Tensor

from data_parameters import distributed, functional
from data_parameters.distributed import GlobalBatchSampler, loss_weight
from data_parameters.integrations.lightning import DataParametersCallback, IndexedLoader
from small_training import (
    NUM_EPOCHS,
    NUM_INSTANCES,
    data_parts,
    model,
    model_optimizer,
    result,
    train_plainly,
    train_set,
)

BATCH_SIZE = 8  # minibatches of 7 for 2 processes: uneven ones
MODEL_OVERFLOWS, TABLES_OVERFLOW = 4, 9
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "max_epochs": NUM_EPOCHS,
}


def loader(**options: Any) -> IndexedLoader:
    return IndexedLoader(train_set(), **{"batch_size": BATCH_SIZE, "seed": 3, **options})


def plain_loop(
    skipped_step: int | None = None, skipped_data_step: int | None = None
) -> dict[str, Tensor]:
    """The minibatches of `loader`."""
    order, minibatches = GlobalBatchSampler(range(NUM_INSTANCES), BATCH_SIZE, seed=3), []
    for epoch in range(NUM_EPOCHS):
        order.set_epoch(epoch)
        minibatches += list(order)
    return train_plainly(minibatches, skipped_step, skipped_data_step)


class Classifier(LightningModule):
    data_parameters: DataParametersCallback

    def __init__(self) -> None:
        super().__init__()
        self.model = model()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        inputs, target, index = batch
        return self.data_parameters.cross_entropy(self.model(inputs), target, index)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return model_optimizer(self.model)


class Overflowing(Classifier):
    """Gradients of the model and then of the tables overflow, in the last process alone."""

    def on_fit_start(self) -> None:
        self.model.weight.register_hook(lambda grad: self._overflow(grad, step=MODEL_OVERFLOWS))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        inputs, target, index = batch
        temperature = self.data_parameters(target, index)
        temperature.register_hook(lambda grad: self._overflow(grad, step=TABLES_OVERFLOW))
        loss = functional.cross_entropy(self.model(inputs), target, temperature)
        return loss * loss_weight(len(target))

    def _overflow(self, grad: Tensor, step: int) -> Tensor:
        in_last = self.trainer.global_rank == self.trainer.world_size - 1
        return grad * torch.inf if in_last and self.trainer.global_step == step else grad


class TablesByStep(Callback):
    """The class table after each minibatch."""

    def __init__(self) -> None:
        self.found: list[Tensor] = []

    def on_train_batch_end(self, trainer: Trainer, module: Classifier, *args: Any) -> None:
        self.found.append(module.data_parameters.data_parameters.log_class.detach().clone())

    def moved(self) -> list[bool]:
        """Whether each step but the first moved it."""
        return [not torch.equal(a, b) for a, b in zip(self.found, self.found[1:], strict=False)]


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


def fit_float16(scaler: torch.amp.GradScaler, **options: Any) -> dict[str, Tensor]:
    """With overflows; what is learned, the last scale, and which steps moved the tables."""
    tables = TablesByStep()
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    found = fit(tables, classifier=Overflowing(), plugins=[plugin], **options)
    scale, moved = torch.tensor(scaler.get_scale()), torch.tensor(tables.moved())
    return {**found, "scale": scale, "moved": moved}


def main() -> None:
    """Under torchrun: FOLDER START, with START ``kill``, ``resume``, ``whole`` or a precision."""
    torch.set_num_threads(1)
    folder, start = Path(sys.argv[1]), sys.argv[2]
    processes: dict[str, Any] = {"strategy": "ddp", "devices": 2}
    if start == "float16":
        found = fit_float16(distributed.GradScaler("cpu", init_scale=8.0), **processes)
    elif start == "bfloat16":
        found = fit(precision="bf16-mixed", **processes)
    else:
        callbacks: list[Callback] = [save_every_step(folder)]
        if start == "kill":
            callbacks.append(Stop(after=9, kill=True))  # before the checkpoint of this step
        last = folder / "last.ckpt" if start == "resume" else None
        found = fit(*callbacks, ckpt_path=last, **processes)
    torch.save(found, folder / f"{os.environ['RANK']}.pt")


if __name__ == "__main__":
    main()
