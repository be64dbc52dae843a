"""One small training, with Accelerate. A process of torchrun starts here."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from torch import Tensor
from torch.utils.data import DataLoader

from data_parameters import IndexedDataset
from data_parameters.integrations.accelerate import AccelerateDataParameters
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


def plain_loop(batch_size: int, skipped_step: int | None = None) -> dict[str, Tensor]:
    """The minibatches of a loader that does not shuffle."""
    epoch = torch.arange(NUM_INSTANCES).split(batch_size)
    return train_plainly(NUM_EPOCHS * epoch, skipped_step)


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
    optimizer = model_optimizer(net)
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
    torch.distributed.destroy_process_group()  # gloo's threads can abort a process that just exits


if __name__ == "__main__":
    main()
