"""State of a training run as named tensors, so that it goes on exactly where it stopped."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from hil.core.errors import ConfigError

Tensors = dict[str, torch.Tensor]


def packed(model: nn.Module, adam: torch.optim.Optimizer) -> Tensors:
    """Copies, on the CPU, of the weights ("weights.*") and of what the optimiser remembers ("adam.*")."""
    out = {f"weights.{name}": value for name, value in model.state_dict().items()}
    for index, memory in adam.state_dict()["state"].items():
        out |= {f"adam.{index}.{name}": value for name, value in memory.items()}
    return {name: value.detach().cpu().clone() for name, value in out.items()}


def unpack(tensors: Mapping[str, torch.Tensor], model: nn.Module, adam: torch.optim.Optimizer) -> None:
    """Put them back. Raises ConfigError if they belong to a network of another size."""
    try:
        model.load_state_dict(part(tensors, "weights"))
    except RuntimeError as error:
        raise ConfigError(
            "the checkpoint belongs to a network of another size",
            hint="resume with the settings it was started with",
        ) from error
    memory: dict[int, Tensors] = {}
    for name, value in part(tensors, "adam").items():
        index, _, what = name.partition(".")
        memory.setdefault(int(index), {})[what] = value
    adam.load_state_dict({"state": memory, "param_groups": adam.state_dict()["param_groups"]})


def part(tensors: Mapping[str, torch.Tensor], prefix: str) -> Tensors:
    """Those below "prefix.", without it."""
    return {
        name.removeprefix(f"{prefix}."): value
        for name, value in tensors.items()
        if name.startswith(f"{prefix}.")
    }
