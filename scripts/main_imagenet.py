"""The published command line for ImageNet, on top of this library.

Without --gpu it trains on all CUDA devices of the machine; the batch size is that of all together.

python scripts/main_imagenet.py --arch resnet18 --data PATH \
    --init_class_param 1.0 --lr_class_param 0.1 --wd_class_param 1e-4 --learn_class_parameters
"""

import sys
from dataclasses import replace

from data_parameters.cli import report_errors
from data_parameters.training.models import ModelConfig
from data_parameters.training.processes import joined_processes, start_on_all_devices
from data_parameters.training.published_flags import apply_flags, parse_flags
from data_parameters.training.recipes import RECIPES
from data_parameters.training.run import start_run


def main() -> None:
    """Translate the flags, and train."""
    parser = parse_flags(
        "Train a classifier on ImageNet with class or instance parameters, or without.",
        weight_decay=1e-4,
        batch_size=256,
        job_name="temp",
    )
    parser.add_argument("-a", "--arch", default="resnet18", help="a torchvision classifier")
    parser.add_argument(
        "--lr_drop_epoch_step", type=int, default=30, help="epochs between drops of lr"
    )
    parser.add_argument("--image-size", type=int, default=224, help="height and width of an input")
    flags = parser.parse_args()
    if flags.data is None:
        parser.error("--data should name the folder with train and val (or training, validation)")
    if flags.lr_drop_epoch_step < 1:
        parser.error("--lr_drop_epoch_step should be at least 1")
    if flags.gpu is None and start_on_all_devices(__file__, sys.argv[1:]):
        return
    config = apply_flags(RECIPES["imagenet"], flags)
    drops = tuple(range(flags.lr_drop_epoch_step, flags.epochs, flags.lr_drop_epoch_step))
    config = replace(
        config,
        data=replace(config.data, image_size=flags.image_size),
        model=ModelConfig(name=flags.arch),
        schedule=replace(config.schedule, milestones=drops),
    )
    with joined_processes(config.runtime.device):
        start_run(config, restart=flags.restart)


if __name__ == "__main__":
    with report_errors():
        main()
