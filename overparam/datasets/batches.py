"""Labelled samples, handed out in batches."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

Inputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]
"""What a model is called with: ``model(x)``, ``model(*xs)`` or ``model(**xs)``."""


class Batches(Protocol):
    """Labelled samples, handed out in batches."""

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def batches(self, size: int, *, seed: int | None = None) -> Iterator[tuple[Inputs, Tensor]]:
        """One pass: every sample once.

        Args:
            size: samples per batch; the last may hold fewer.
            seed: shuffles; without one, samples come in their order.
        """
        ...

    def take(self, n: int) -> tuple[Inputs, Tensor]:
        """The first n samples, or all if there are fewer."""
        ...


class InMemory:
    """Samples that are tensors already.

    Args:
        inputs: a tensor (N, ...), or a tuple or dict of such.
        targets: (N,) or (N, ...).

    Raises:
        ValueError: no sample, or tensors of different lengths.

    Example:
        >>> data = InMemory(torch.arange(6.0).view(3, 2), torch.tensor([0, 1, 0]))
        >>> [len(y) for _, y in data.batches(2)]
        [2, 1]
    """

    def __init__(self, inputs: Inputs, targets: Tensor) -> None:
        lengths = {len(part) for part in [*parts_of(inputs), targets]}
        if len(lengths) != 1 or 0 in lengths:
            raise ValueError(
                f"inputs and targets have {sorted(lengths)} samples; allowed: one number, not 0"
            )
        self.inputs = inputs
        self.targets = targets

    def __len__(self) -> int:
        return len(self.targets)

    def batches(self, size: int, *, seed: int | None = None) -> Iterator[tuple[Inputs, Tensor]]:
        """See :class:`Batches`."""
        if size < 1:
            raise ValueError(f"size is {size}; allowed >= 1")
        if seed is None:
            order = torch.arange(len(self))
        else:
            order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            yield each_part(self.inputs, partial(_rows, rows)), self.targets[rows]

    def take(self, n: int) -> tuple[Inputs, Tensor]:
        """See :class:`Batches`."""
        return each_part(self.inputs, lambda part: part[:n]), self.targets[:n]


def _rows(rows: Tensor, part: Tensor) -> Tensor:
    return part[rows]


def parts_of(inputs: Inputs) -> list[Tensor]:
    """The tensors of one batch's inputs."""
    if isinstance(inputs, dict):
        return list(inputs.values())
    return list(inputs) if isinstance(inputs, tuple) else [inputs]


def each_part(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """The inputs with every tensor changed, arranged as before."""
    if isinstance(inputs, dict):
        return {name: change(part) for name, part in inputs.items()}
    return tuple(map(change, inputs)) if isinstance(inputs, tuple) else change(inputs)
