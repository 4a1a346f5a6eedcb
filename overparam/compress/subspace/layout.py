"""Where each parameter tensor of a model lies in one flat vector theta of R^D."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ParameterLayout:
    """Trainable parameters of a model as consecutive blocks of a vector, tied ones counted once.

    Attributes:
        names: The first name of each parameter tensor, in ``named_parameters`` order.
        aliases: All names of each tensor; more than one where modules share it.
        shapes: Shape of each tensor.
        layers: Index of the layer (the module that owns the first name) of each tensor.
    """

    names: tuple[str, ...]
    aliases: tuple[tuple[str, ...], ...]
    shapes: tuple[tuple[int, ...], ...]
    layers: tuple[int, ...]

    @classmethod
    def of(cls, model: nn.Module) -> Self:
        """The layout of the parameters that require gradients.

        Raises:
            ValueError: None does; or they lie on different devices, or have different dtypes.
        """
        names: dict[int, list[str]] = {}
        tensors: dict[int, nn.Parameter] = {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            if parameter.requires_grad:
                names.setdefault(id(parameter), []).append(name)
                tensors[id(parameter)] = parameter
        if not tensors:
            raise ValueError("model has no trainable parameters")
        for what in ("device", "dtype"):
            found = sorted({str(getattr(p, what)) for p in tensors.values()})
            if len(found) > 1:
                raise ValueError(f"model's parameters must share one {what}, got {found}")
        owners = [aliases[0].rpartition(".")[0] for aliases in names.values()]
        index = {owner: i for i, owner in enumerate(dict.fromkeys(owners))}
        return cls(
            names=tuple(aliases[0] for aliases in names.values()),
            aliases=tuple(tuple(aliases) for aliases in names.values()),
            shapes=tuple(tuple(p.shape) for p in tensors.values()),
            layers=tuple(index[owner] for owner in owners),
        )

    @property
    def sizes(self) -> list[int]:
        """Number of entries of each tensor."""
        return [torch.Size(shape).numel() for shape in self.shapes]

    @property
    def full_dim(self) -> int:
        """D, the number of trainable parameters."""
        return sum(self.sizes)

    @property
    def layer_sizes(self) -> list[int]:
        """Number of parameters of each layer."""
        totals = [0] * (self.layers[-1] + 1)
        for layer, size in zip(self.layers, self.sizes, strict=True):
            totals[layer] += size
        return totals

    def flatten(self, model: nn.Module) -> Tensor:
        """Copy of the model's parameters as one vector (D,)."""
        parameters = dict(model.named_parameters(remove_duplicate=False))
        return torch.cat([parameters[name].detach().reshape(-1) for name in self.names])

    def views(self, theta: Tensor) -> dict[str, Tensor]:
        """Views into theta (D,), one under every name, shaped as the model's parameters."""
        blocks = torch.split(theta, self.sizes)
        return {
            name: block.view(shape)
            for aliases, shape, block in zip(self.aliases, self.shapes, blocks, strict=True)
            for name in aliases
        }
