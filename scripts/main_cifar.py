"""The published command line for CIFAR-100 with wrong labels, on top of this library.

python scripts/main_cifar.py --rand_fraction 0.4 \
    --init_inst_param 1.0 --lr_inst_param 0.2 --wd_inst_param 0.0 --learn_inst_parameters
"""

from dataclasses import replace
from pathlib import Path

from data_parameters.cli import report_errors
from data_parameters.training.config import NoiseConfig
from data_parameters.training.processes import joined_processes
from data_parameters.training.published_flags import apply_flags, parse_flags
from data_parameters.training.recipes import RECIPES
from data_parameters.training.run import start_run


def main() -> None:
    """Translate the flags, and train."""
    parser = parse_flags(
        "Train WRN-28-10 on CIFAR-100 with class or instance parameters, or without.",
        weight_decay=5e-4,
        batch_size=128,
        job_name="cifar",
    )
    parser.add_argument(
        "--rand_fraction", type=float, default=0.0, help="share of the labels that are permuted"
    )
    parser.add_argument("--download", action="store_true", help="download CIFAR-100")
    flags = parser.parse_args()
    flags.data = flags.data or Path("data")
    config = apply_flags(RECIPES["cifar100"], flags)
    data = replace(config.data, download=flags.download)
    has_tables = any(flags.data.glob("train*.parquet"))
    if not (has_tables or flags.download or (flags.data / "cifar-100-python").is_dir()):
        parser.error(
            f"there should be CIFAR-100 in {flags.data}. Found neither the folder cifar-100-python "
            "of torchvision nor train*.parquet. Name one with --data, or ask for --download"
        )
    if has_tables:
        data = replace(data, name="parquet", label_column="fine_label", statistics="cifar10")
    noise = NoiseConfig()
    if flags.rand_fraction != 0.0:
        noise = NoiseConfig(kind="permute", fraction=flags.rand_fraction, seed=flags.seed)
    with joined_processes(config.runtime.device):
        start_run(replace(config, data=data, noise=noise), restart=flags.restart)


if __name__ == "__main__":
    with report_errors():
        main()
