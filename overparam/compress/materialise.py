"""Compressed models back to plain ones."""

from copy import deepcopy

import torch
from torch import nn

from overparam.compress.masked_weight import unmask_weight
from overparam.compress.shared_model import SharedModel


@torch.no_grad()
def materialise(model: nn.Module) -> nn.Module:
    """A plain copy of a shared or masked model, with ordinary weight tensors and the same outputs.

    Virtual weights are written out, masks are multiplied in (pruned entries are exact zeros); tied
    weights stay tied. Works for models that contain such models. The input is not changed.

    Example:
        >>> from overparam.compress.sharing import share_parameters
        >>> plain = materialise(share_parameters(nn.Linear(4, 4), 2, seed=0))
        >>> [name for name, _ in plain.named_parameters()]
        ['weight', 'bias']
    """
    plain = deepcopy(model)
    if isinstance(plain, SharedModel):
        plain = _unshared(plain)
    for name, module in list(plain.named_modules()):
        if isinstance(module, SharedModel):
            parent, _, child = name.rpartition(".")
            setattr(plain.get_submodule(parent), child, _unshared(module))
    for module in plain.modules():
        unmask_weight(module)
    return plain


def _unshared(shared: SharedModel) -> nn.Module:
    weights = shared.virtual_weights()
    for slot in shared.slots:
        parameter = nn.Parameter(weights[slot.name].clone())
        for layer in slot.layers:
            shared.skeleton.get_submodule(layer).register_parameter("weight", parameter)
    return shared.skeleton
