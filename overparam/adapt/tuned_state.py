"""What tuning trained, apart from what it left as it was: a small file per task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


def tuned_state(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the parameters that require gradients, by name.

    With the pretrained weights they are the whole tuned model; see :func:`load_tuned`.

    Raises:
        ValueError: none does, so that nothing was tuned.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 2).requires_grad_(False), nn.Linear(2, 2))
        >>> list(tuned_state(net))
        ['1.weight', '1.bias']
    """
    if not (trained := _trained(model)):
        raise ValueError(f"{type(model).__name__} has no parameter with requires_grad=True")
    return {name: parameter.detach().clone() for name, parameter in trained.items()}


@torch.no_grad()
def load_tuned(model: Model, state: Mapping[str, Tensor]) -> Model:
    """Copy what :func:`tuned_state` gave into a model prepared by the same method, in place.

    Args:
        model: the pretrained network, prepared but not tuned.
        state: of a tuned one.

    Returns:
        The same model.

    Raises:
        RuntimeError: a parameter is missing, has no place or another shape; it is named and
            nothing is changed.
    """
    trained = _trained(model)
    for name in sorted(trained.keys() ^ state.keys()):
        where = "the tuned state" if name in trained else "what the model trains"
        raise RuntimeError(f"{name} is missing from {where}")
    for name, parameter in trained.items():
        if parameter.shape != state[name].shape:
            raise RuntimeError(
                f"{name} is {tuple(parameter.shape)} in the model and "
                f"{tuple(state[name].shape)} in the tuned state"
            )
    for name, parameter in trained.items():
        parameter.copy_(state[name])
    return model


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}
