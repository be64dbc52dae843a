"""Data parameters in an Accelerate loop: find wrong labels in generated data, in a few seconds.

Needs: pip install 'data-parameters[accelerate]'
Two processes: torchrun --nproc-per-node=2 examples/accelerate_loop.py
"""

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from data_parameters import DataParameters, IndexedDataset, SparseSGD, corrupt_labels
from data_parameters.integrations.accelerate import AccelerateDataParameters

NUM_INSTANCES, NUM_CLASSES = 2_000, 5


def main():
    torch.manual_seed(0)
    clean = torch.randint(NUM_CLASSES, (NUM_INSTANCES,))
    inputs = 2.0 * torch.randn(NUM_CLASSES, 10)[clean] + torch.randn(NUM_INSTANCES, 10)
    labels, _ = corrupt_labels(clean, 0.2, num_classes=NUM_CLASSES)
    loader = DataLoader(IndexedDataset(TensorDataset(inputs, labels)), batch_size=64, shuffle=True)

    accelerator = Accelerator(cpu=True)
    model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, NUM_CLASSES))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    tables = DataParameters(num_instances=NUM_INSTANCES)
    data_optimizer = SparseSGD(tables.param_groups(lr_instance=2.0), momentum=0.9)
    data = AccelerateDataParameters(accelerator, optimizer, tables, data_optimizer, labels=labels)

    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    for _ in range(5):
        for x, target, index in loader:
            # Was: torch.nn.functional.cross_entropy(model(x), target)
            loss = data.cross_entropy(model(x), target, index)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()

    suspects = tables.instance_temperature.argsort(descending=True)[: NUM_INSTANCES // 5]
    wrong = (labels != clean)[suspects].float().mean()
    accelerator.print(
        f"Of the fifth with the highest temperatures, {wrong:.0%} have a wrong label."
    )
    accelerator.end_training()


if __name__ == "__main__":
    main()
