"""The published command lines, translated into a configuration."""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from data_parameters.training.config import TrainConfig

__all__ = ["apply_flags", "parse_flags"]


def parse_flags(
    description: str, *, weight_decay: float, batch_size: int, job_name: str
) -> argparse.ArgumentParser:
    """A parser of the flags that both published programs know.

    Args:
        description: What the program does.
        weight_decay: Its default for the model.
        batch_size: Its default.
        job_name: Its default name of the run folder under ``runs``.

    Returns:
        The parser, to which a program adds its own.
    """
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    add = parser.add_argument
    add("--data", type=Path, metavar="PATH", help="folder of the data set")
    add("-j", "--workers", type=int, default=2, metavar="N", help="processes that load data")
    add("--job_name", default=job_name, help="name of the run folder under runs")
    add("--epochs", type=int, default=120, metavar="N", help="epochs to run")
    add("--start-epoch", type=int, default=0, metavar="N", help="epoch to count from")
    add("--restart", action="store_true", help="remove the run of this name first")
    add("-b", "--batch-size", type=int, default=batch_size, metavar="N", help="samples in a step")
    add("--lr", "--learning-rate", type=float, default=0.1, dest="lr", help="of the model")
    add("--momentum", type=float, default=0.9, help="of the model")
    add("--wd", "--weight-decay", type=float, default=weight_decay, dest="weight_decay")
    add("-p", "--print-freq", type=int, default=10, metavar="N", help="steps between two lines")
    add("--seed", type=int, default=1, help="of everything random")
    add("--gpu", type=int, metavar="N", help="which CUDA device; without CUDA it is the CPU")
    # The published README spells the first one --learn_class_paramters.
    add("--learn_class_parameters", "--learn_class_paramters", action="store_true")
    add("--learn_inst_parameters", action="store_true")
    add("--skip_clamp_data_param", action="store_true", help="no bounds for the temperatures")
    for level in ("class", "inst"):
        add(f"--lr_{level}_param", type=float, default=0.1, help="learning rate of that table")
        add(f"--wd_{level}_param", type=float, default=0.0, help="weight decay of that table")
        add(f"--init_{level}_param", type=float, default=1.0, help="first temperature")
    add("--limit-batches", type=int, metavar="N", help="only so many minibatches an epoch")
    add("--tensorboard", action="store_true", help="write TensorBoard files")
    return parser


def apply_flags(recipe: TrainConfig, flags: argparse.Namespace) -> TrainConfig:
    """A recipe with what the flags say.

    Args:
        recipe: The published settings.
        flags: What the parser found.

    Returns:
        The configuration.
    """
    chosen = flags.gpu is not None and torch.cuda.is_available()
    device = f"cuda:{flags.gpu}" if chosen else "auto"
    return replace(
        recipe,
        data=replace(recipe.data, path=flags.data),
        optimizer=replace(
            recipe.optimizer,
            lr=flags.lr,
            momentum=flags.momentum,
            weight_decay=flags.weight_decay,
        ),
        classes=replace(
            recipe.classes,
            learn=flags.learn_class_parameters,
            init=flags.init_class_param,
            lr=flags.lr_class_param,
            weight_decay=flags.wd_class_param,
        ),
        instances=replace(
            recipe.instances,
            learn=flags.learn_inst_parameters,
            init=flags.init_inst_param,
            lr=flags.lr_inst_param,
            weight_decay=flags.wd_inst_param,
        ),
        tables=replace(
            recipe.tables, bounds=None if flags.skip_clamp_data_param else recipe.tables.bounds
        ),
        runtime=replace(
            recipe.runtime,
            device=device,
            num_workers=flags.workers,
            log_steps=flags.print_freq,
            table_steps=flags.print_freq,
            tensorboard=flags.tensorboard,
        ),
        epochs=flags.epochs,
        start_epoch=flags.start_epoch,
        batch_size=flags.batch_size,
        limit_batches=flags.limit_batches,
        seed=flags.seed,
        output=Path("runs") / flags.job_name,
    )
