"""How fast CIFAR-sized batches arrive: whole-batch augmentation against Pillow, image by image."""

import argparse

import torch
from PIL import Image
from torchvision import transforms

from data_parameters.training.batches import make_batches
from data_parameters.training.config import AugmentConfig
from data_parameters.training.data import Split, TrainingData
from timing import RESULTS, interleaved, machine, markdown, microseconds, ratio

BATCH_SIZE, NUM_IMAGES = 128, 50_000
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    arguments = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    shape = (NUM_IMAGES, 3, 32, 32)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    split = Split(inputs=images, labels=torch.zeros(NUM_IMAGES, dtype=torch.int64))
    data = TrainingData(train=split, test=split, class_names=("a",), mean=MEAN, std=STD)
    batches = make_batches(
        data,
        split,
        torch.arange(NUM_IMAGES),
        batch_size=BATCH_SIZE,
        device=torch.device("cpu"),
        shuffle=True,
        augmentation=AugmentConfig(crop_padding=4, flip=True),
    )
    ours = (batch for epoch in range(10**6) for batch in batches.epoch(epoch))

    transform = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    arrays = images.permute(0, 2, 3, 1).contiguous().numpy()

    def with_pillow() -> None:
        rows = torch.randint(NUM_IMAGES, (BATCH_SIZE,), generator=generator).tolist()
        torch.stack([transform(Image.fromarray(arrays[row])) for row in rows])

    functions = {"Pillow": with_pillow, "ours": lambda: next(ours)}
    times = interleaved(functions, rounds=arguments.rounds, block=10)
    report = (
        "# Batches of CIFAR-sized images with crop and flip\n\n"
        f"`python benchmarks/data_speed.py`. {machine()}\n\n"
        f"Batches of {BATCH_SIZE} random images of 32×32, padded by 4, cropped, flipped and "
        f"normalised, in one process; median (quartiles) of {arguments.rounds} rounds of 10 "
        "batches, taking turns. With two worker processes the first could at best be halved.\n\n"
        + markdown(
            ["", "µs a batch", "times as fast"],
            [
                ["Pillow transforms, image by image", microseconds(times["Pillow"]), "1"],
                [
                    "whole batches of uint8",
                    microseconds(times["ours"]),
                    f"{ratio(times['Pillow'], times['ours']):.1f}",
                ],
            ],
        )
    )
    (RESULTS / "data_speed.md").write_text(report, encoding="utf-8")
    print(report)


if __name__ == "__main__":
    main()
