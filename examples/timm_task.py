"""Train a timm model with timm's own parts, and find wrong labels.

Run: python examples/timm_task.py. The data are scikit-learn's handwritten digits, as an image
folder in which 20 % of the images lie in the folder of a wrong class.
"""

import tempfile
from pathlib import Path

import torch
from PIL import Image
from sklearn.datasets import load_digits
from timm import create_model
from timm.data import create_dataset, create_loader
from timm.optim import create_optimizer_v2
from timm.utils import CheckpointSaver

from data_parameters import DataParameters, SparseSGD, TrainingDynamics, corrupt_labels
from data_parameters.integrations.timm import DataParametersTask, index_targets

torch.manual_seed(0)
temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)
digits = load_digits()
images, labels = digits.images[:600], torch.from_numpy(digits.target[:600])
noisy, _ = corrupt_labels(labels, 0.2, seed=0)
for row, (image, label) in enumerate(zip(images, noisy.tolist(), strict=True)):
    (folder / "images" / str(label)).mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray((image * 15).astype("uint8")).resize((32, 32))
    picture.save(folder / "images" / str(label) / f"{row:04}.png")

train_set = index_targets(create_dataset("", root=str(folder / "images"), class_map=""))
loader = create_loader(
    train_set, (3, 32, 32), batch_size=50, is_training=True, no_aug=True,
    num_workers=0, device=torch.device("cpu"),
)  # fmt: skip

model = create_model("test_resnet", num_classes=10)
optimizer = create_optimizer_v2(model, opt="adamw", lr=2e-3)

data_parameters = DataParameters(num_instances=len(train_set))
data_optimizer = SparseSGD(data_parameters.param_groups(lr_instance=0.5), momentum=0.9)
dynamics = TrainingDynamics(len(train_set))
task = DataParametersTask(model, data_parameters, data_optimizer, dynamics=dynamics)
task.follow(optimizer)

saver = CheckpointSaver(model, optimizer, task=task, checkpoint_dir=str(folder), max_history=1)
for epoch in range(8):
    task.train()
    for image, target in loader:
        result = task(image, target)
        optimizer.zero_grad()
        result["loss"].backward()
        optimizer.step()
    print(f"epoch {epoch}: loss of the last minibatch {result['loss']:.3f}")
    saver.save_checkpoint(epoch)

rows = [int(Path(name).stem) for name in train_set.filenames()]  # the folder's order
wrong = (noisy != labels)[rows]
worst = dynamics.clipped_margin.argsort()[: int(wrong.sum())]
print(f"of the {len(worst)} labels trusted least, {wrong[worst].float().mean():.0%} are wrong")
