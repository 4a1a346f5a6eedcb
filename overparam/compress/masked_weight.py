"""A mask that lives inside the layer it prunes."""

from functools import cache

import torch
from torch import Tensor, nn


class MaskedWeight:
    r"""Mixin of a layer whose weight reads as :math:`\mathrm{mask} \odot v`, v its parameter.

    A masked entry is zero in every forward pass, gets no gradient, and stays zero whatever an
    optimiser does to v. Parameter names stay as they were; the mask is the boolean buffer
    ``weight_mask``, the only copy of it. It follows ``deepcopy``, ``state_dict``, ``to`` and
    ``torch.func`` transforms, and no hook is involved.

    ``torch.nn.utils.parametrize`` is not used: it makes a new class for every layer, and removing
    it from a deep copy breaks the original, whose class that is, too.
    """

    weight_mask: Tensor

    @property
    def weight(self) -> Tensor:
        """The weight with masked entries exactly zero, also where v is not finite."""
        values: dict[str, Tensor] = self._parameters  # type: ignore[attr-defined]
        return torch.where(self.weight_mask, values["weight"], 0.0)


def mask_weight(layer: nn.Module, mask: Tensor) -> None:
    """Mask the weight of ``layer`` in place; a mask it has already is intersected with the new one.

    Args:
        layer: a layer with a parameter ``weight``.
        mask: boolean tensor of its shape; kept as it is, so tied layers can share one.
    """
    if isinstance(layer, MaskedWeight):
        layer.weight_mask &= mask
        return
    layer.register_buffer("weight_mask", mask)
    layer.__class__ = _masked_class(type(layer))  # type: ignore[arg-type]


def unmask_weight(layer: nn.Module) -> None:
    """Turn a masked layer back into a plain one in place, with zeros where the mask was."""
    if not isinstance(layer, MaskedWeight):
        return
    with torch.no_grad():
        dict(layer.named_parameters(recurse=False))["weight"].copy_(layer.weight)
    del layer.weight_mask
    layer.__class__ = type(layer).__bases__[1]


@cache
def _masked_class(layer_class: type[nn.Module]) -> type[nn.Module]:
    return type(f"Masked{layer_class.__name__}", (MaskedWeight, layer_class), {})
