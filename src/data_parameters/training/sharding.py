"""A model whose weights, gradients and optimizer state are spread over the processes (FSDP2)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

__all__ = ["shard", "spread_like_model", "spread_like_optimizer", "whole"]


def shard(model: nn.Module) -> None:
    """Spread a model over all processes, each of its parts as a unit.

    Args:
        model: The model, on its device; changed in place.
    """
    for part in model.children():
        # A list of modules has no forward pass of its own.
        if any(True for _ in part.parameters()) and type(part).forward is not nn.Module.forward:
            fully_shard(part)
    fully_shard(model)


def whole(state: Any) -> Any:
    """A state with whole tensors in place of spread ones; every process has to ask.

    Args:
        state: Tensors and plain values, nested.

    Returns:
        The same, whole tensors on the CPU.
    """
    if isinstance(state, DTensor):
        return state.full_tensor().cpu()
    if isinstance(state, Mapping):
        return {name: whole(value) for name, value in state.items()}
    if isinstance(state, list):
        return [whole(value) for value in state]
    return state


def spread_like_model(state: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
    """The state of a model, spread as the model is.

    Args:
        state: Whole tensors by name, the same in every process.
        model: The model, spread or not.

    Returns:
        The state that the model loads.
    """
    places = model.state_dict()
    return {name: _spread(value, places.get(name)) for name, value in state.items()}


def spread_like_optimizer(
    state: Mapping[str, Any], optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """The state of an optimizer, spread as its parameters are.

    Args:
        state: Whole tensors and plain values, the same in every process.
        optimizer: The optimizer of a model, spread or not.

    Returns:
        The state that the optimizer loads.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    spread = {
        key: {name: _spread(value, parameters[key]) for name, value in values.items()}
        for key, values in state["state"].items()
    }
    return {**state, "state": spread}


def _spread(value: Any, like: Tensor | None) -> Any:
    if not isinstance(like, DTensor) or not isinstance(value, Tensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value, like.device_mesh, like.placements)
