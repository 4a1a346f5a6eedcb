"""State of a running training as a flat dictionary of tensors and whole numbers."""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

State = dict[str, Tensor | int]


class Checkpoint(Protocol):
    """Where a long training keeps its state.

    ``save`` is called after every epoch and must copy or write what it keeps before it returns (the
    tensors go on changing); it may skip calls. ``load`` returns what was saved last, or None.
    """

    def load(self) -> Mapping[str, Tensor | int] | None:
        """The state saved last, or None at a first start."""

    def save(self, state: Mapping[str, Tensor | int]) -> None:
        """Keep the state."""


def optimizer_state(optimizer: torch.optim.Optimizer) -> State:
    """Flat state of an optimiser: ``POSITION.NAME`` for every entry it keeps per parameter."""
    return {
        f"{position}.{name}": value
        for position, entries in optimizer.state_dict()["state"].items()
        for name, value in entries.items()
        if value is not None
    }


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor | int]
) -> None:
    """Put back what :func:`optimizer_state` gave; learning rates and other settings stay."""
    nested: dict[int, dict[str, Tensor | int]] = {}
    for key, value in state.items():
        position, name = key.split(".", 1)
        nested.setdefault(int(position), {})[name] = (
            value.clone() if isinstance(value, Tensor) else value
        )
    optimizer.load_state_dict(
        {"state": nested, "param_groups": optimizer.state_dict()["param_groups"]}
    )


def part(state: Mapping[str, Tensor | int], prefix: str) -> State:
    """The entries whose names start with ``prefix``, without it."""
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
