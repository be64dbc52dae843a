"""Who moves the tables: one optimizer of their own, and no model."""

from typing import Any

from torch import nn

from data_parameters import DataParameters

__all__ = ["check_data_optimizer", "check_model", "check_model_optimizer"]


def check_data_optimizer(data_parameters: DataParameters, optimizer: Any) -> None:
    """Refuse an optimizer of the tables that leaves one out, or holds something else.

    Args:
        data_parameters: The tables.
        optimizer: Their optimizer.

    Raises:
        ValueError: It does not hold the tables, and them alone.
    """
    tables, held = set(data_parameters.parameters()), _parameters_of(optimizer)
    if tables != held:
        raise ValueError(
            "The optimizer of the tables should hold the tables and nothing else. Found "
            f"{len(held - tables)} other parameters, and {len(tables - held)} of the tables "
            "missing. Build it from `data_parameters.param_groups(...)`."
        )


def check_model_optimizer(data_parameters: DataParameters, optimizer: Any, remedy: str) -> None:
    """Refuse an optimizer of the model that would move the tables too.

    Args:
        data_parameters: The tables.
        optimizer: The optimizer of the model.
        remedy: What to do.

    Raises:
        ValueError: It holds a table.
    """
    if set(data_parameters.parameters()) & _parameters_of(optimizer):
        raise ValueError(
            "The tables should have one optimizer, their own. Found them in "
            f"{type(optimizer).__name__} too. {remedy}"
        )


def check_model(data_parameters: DataParameters, model: nn.Module, remedy: str) -> None:
    """Refuse a model that holds the tables, or others.

    Args:
        data_parameters: The tables.
        model: The model.
        remedy: What to do.

    Raises:
        ValueError: It holds a table.
    """
    tables = set(data_parameters.parameters())
    modules = (name for name, part in model.named_modules() if isinstance(part, DataParameters))
    single = (name for name, parameter in model.named_parameters() if parameter in tables)
    for name in (*modules, *single):
        raise ValueError(
            f"The {type(model).__name__} should not hold the tables, because its optimizer, its "
            "state dict and DistributedDataParallel would take them. Found DataParameters as "
            f"`{name}`. {remedy}"
        )


def _parameters_of(optimizer: Any) -> set[nn.Parameter]:
    return {parameter for group in optimizer.param_groups for parameter in group["params"]}
