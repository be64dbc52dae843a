"""One small training, in a plain loop and with Accelerate. A process of torchrun starts here."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from data_parameters import (
    DataParameters,
    IndexedDataset,
    SparseSGD,
    TrainingDynamics,
    functional,
)
from data_parameters.integrations.accelerate import AccelerateDataParameters

NUM_INSTANCES, NUM_CLASSES, NUM_FEATURES, NUM_EPOCHS = 42, 4, 5, 3


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


def result(
    tables: DataParameters, optimizer: SparseSGD, dynamics: TrainingDynamics, model: nn.Module
) -> dict[str, Tensor]:
    buffers = {
        f"{group['name']}.momentum": optimizer.state[group["params"][0]]["momentum_buffer"]
        for group in optimizer.param_groups
    }
    found = {**tables.state_dict(), **buffers, **dynamics.state_dict(), **model.state_dict()}
    return {name: value.clone() for name, value in found.items()}


def plain_loop(batch_size: int, skipped_step: int | None = None) -> dict[str, Tensor]:
    """Without Accelerate, and without anything of the integration."""
    net, (tables, data_optimizer, dynamics) = model(), data_parts()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    loader = DataLoader(IndexedDataset(train_set()), batch_size)
    for step, (inputs, target, index) in enumerate(b for _ in range(NUM_EPOCHS) for b in loader):
        logits = net(inputs)
        optimizer.zero_grad()
        data_optimizer.zero_grad()
        functional.cross_entropy(logits, target, tables(target, index)).backward()
        if step != skipped_step:
            optimizer.step()
            data_optimizer.step()
        dynamics.update(logits.detach(), target, index)
    return result(tables, data_optimizer, dynamics, net)


def fit(
    batch_size: int,
    *,
    shuffle: bool = False,
    folder: Path | None = None,
    stop_after: int | None = None,
    kill: bool = False,
    resume_after: int = 0,
    **options: Any,
) -> dict[str, Tensor]:
    """With Accelerate; ``stop_after`` some steps or resumed after some, saved in a folder."""
    config = DataLoaderConfiguration(use_seedable_sampler=True, data_seed=5)
    accelerator = Accelerator(cpu=True, dataloader_config=config, **options)
    net, (tables, data_optimizer, dynamics) = model(), data_parts()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    data = AccelerateDataParameters(
        accelerator, optimizer, tables, data_optimizer, dynamics=dynamics
    )
    loader = DataLoader(IndexedDataset(train_set()), batch_size, shuffle=shuffle)
    prepared, optimizer, loader = accelerator.prepare(net, optimizer, loader)
    if resume_after:
        accelerator.load_state(str(folder))
    step = resume_after
    for epoch in range(step // len(loader), NUM_EPOCHS):
        loader.set_epoch(epoch)
        done = step - epoch * len(loader)
        for inputs, target, index in accelerator.skip_first_batches(loader, done):
            with accelerator.accumulate(prepared):
                loss = data.cross_entropy(prepared(inputs), target, index)
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
            step += 1
            if step == stop_after:
                accelerator.save_state(str(folder))
                accelerator.wait_for_everyone()
                if kill:
                    os.kill(os.getpid(), signal.SIGKILL)
                return {}
    return result(tables, data_optimizer, dynamics, net)


def main() -> None:
    """Under torchrun: FOLDER START, with START ``kill`` or ``resume`` or ``whole``."""
    torch.set_num_threads(1)
    folder, start = Path(sys.argv[1]), sys.argv[2]
    if start == "whole":
        # One that leaves the second process 2 of 8 samples at the end, and one that leaves it none.
        found = [fit(8), fit(4)]
    elif start == "kill":
        fit(8, folder=folder, stop_after=4, kill=True)
    else:
        found = [fit(8, folder=folder, resume_after=4)]
    torch.save(found, folder / f"{os.environ['RANK']}.pt")


if __name__ == "__main__":
    main()
