"""Steps of a timm task over fixed minibatches. A module of its own, so that processes import it."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from data_parameters import DataParameters, SparseSGD, TrainingDynamics
from data_parameters.integrations.timm import DataParametersTask

NUM_INSTANCES, NUM_CLASSES, BATCH_SIZE, NUM_STEPS = 40, 4, 8, 12


def minibatches() -> list[tuple[Tensor, Tensor]]:
    """Images and packed targets; rows recur in later minibatches."""
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(NUM_INSTANCES, 3, 4, 4, generator=generator)
    labels = torch.randint(NUM_CLASSES, (NUM_INSTANCES,), generator=generator)
    batches = []
    for _ in range(NUM_STEPS):
        index = torch.randperm(NUM_INSTANCES, generator=generator)[:BATCH_SIZE]
        batches.append((images[index], torch.stack([labels[index], index], 1)))
    return batches


def make_model() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, NUM_CLASSES))


def make_task(num_instances: int = NUM_INSTANCES) -> tuple[DataParametersTask, Any]:
    """The task, and the optimizer of its model, which it follows."""
    tables = DataParameters(num_classes=NUM_CLASSES, num_instances=num_instances)
    groups = tables.param_groups(lr_class=0.1, lr_instance=0.8, weight_decay_class=0.01)
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    dynamics = TrainingDynamics(num_instances)
    task = DataParametersTask(model, tables, SparseSGD(groups, momentum=0.9), dynamics=dynamics)
    task.follow(optimizer)
    return task, optimizer


def train(task: DataParametersTask, optimizer: Any, batches: list[tuple[Tensor, Tensor]]) -> None:
    for images, target in batches:
        optimizer.zero_grad()
        task(images, target)["loss"].backward()
        optimizer.step()


def process(rank: int, rendezvous: str, output: str) -> None:
    """One of two processes, with half of each minibatch."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    task, optimizer = make_task()
    task.prepare_distributed()
    train(task, optimizer, [(x[rank::2], target[rank::2]) for x, target in minibatches()])
    state = {**task.data_parameters.state_dict(), **task.trainable_module.module.state_dict()}
    torch.save(state, f"{output}/{rank}.pt")
    dist.barrier()  # a process that leaves early may abort the other
    dist.destroy_process_group()
