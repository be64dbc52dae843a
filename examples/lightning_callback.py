"""Data parameters in PyTorch Lightning: find wrong labels in generated data, in a few seconds.

Needs: pip install 'data-parameters[lightning]'
"""

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import nn
from torch.utils.data import TensorDataset

from data_parameters import DataParameters, SparseSGD, TrainingDynamics, corrupt_labels
from data_parameters.integrations.lightning import DataParametersCallback, IndexedLoader

NUM_INSTANCES, NUM_CLASSES = 2_000, 5


class Classifier(LightningModule):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, NUM_CLASSES))

    def training_step(self, batch, batch_idx):
        inputs, target, index = batch
        # Was: torch.nn.functional.cross_entropy(self.model(inputs), target)
        return self.data_parameters.cross_entropy(self.model(inputs), target, index)

    def configure_optimizers(self):
        return torch.optim.Adam(self.model.parameters(), lr=0.01)


def main():
    torch.manual_seed(0)
    clean = torch.randint(NUM_CLASSES, (NUM_INSTANCES,))
    inputs = 2.0 * torch.randn(NUM_CLASSES, 10)[clean] + torch.randn(NUM_INSTANCES, 10)
    labels, _ = corrupt_labels(clean, 0.2, num_classes=NUM_CLASSES)

    tables = DataParameters(num_instances=NUM_INSTANCES)
    callback = DataParametersCallback(
        tables,
        SparseSGD(tables.param_groups(lr_instance=2.0), momentum=0.9),
        dynamics=TrainingDynamics(NUM_INSTANCES),
        labels=labels,
    )
    loader = IndexedLoader(TensorDataset(inputs, labels), batch_size=64)
    trainer = Trainer(
        callbacks=[callback],
        max_epochs=5,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(Classifier(), loader)

    suspects = tables.instance_temperature.argsort(descending=True)[: NUM_INSTANCES // 5]
    wrong = (labels != clean)[suspects].float().mean()
    print(f"Of the fifth with the highest temperatures, {wrong:.0%} have a wrong label.")


if __name__ == "__main__":
    main()
