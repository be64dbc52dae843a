"""A training run that is split over processes. A module of its own, so that they can import it."""

from typing import Any

import torch
import torch.distributed as dist

from data_parameters import DataParameters, SparseSGD, functional

NUM_STEPS, BATCH_SIZE = 30, 8


def train(rank: int, num_processes: int, options: dict[str, Any]) -> list[torch.Tensor]:
    joint = DataParameters(num_classes=4, num_instances=40)
    groups = joint.param_groups(lr_class=0.1, lr_instance=0.8, weight_decay_class=0.01)
    optimizer = SparseSGD(groups, momentum=0.9, **options)
    generator = torch.Generator().manual_seed(3)
    for step in range(NUM_STEPS):
        logits = torch.randn(BATCH_SIZE, 4, generator=generator)
        target = torch.randint(4, (BATCH_SIZE,), generator=generator)
        index = torch.randint(40, (BATCH_SIZE,), generator=generator)
        optimizer.zero_grad()
        # In every third step only rank 0 has samples, whose mean then counts twice in one process.
        alone = step % 3 == 2
        mine = slice(0, 4) if alone else slice(rank, None, num_processes)
        if rank == 0 or not alone:
            temperature = joint(target[mine], index[mine])
            loss = functional.cross_entropy(logits[mine], target[mine], temperature)
            (loss / 2 if alone and num_processes == 1 else loss).backward()
        optimizer.step()
    assert joint.log_class is not None
    assert joint.log_instance is not None
    return [joint.log_class.detach(), joint.log_instance.detach()]


def process(rank: int, rendezvous: str, output: str, options: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    torch.save(train(rank, 2, options), f"{output}/{rank}.pt")
    dist.barrier()  # a process that leaves early may abort the other
    dist.destroy_process_group()
