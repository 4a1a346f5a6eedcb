"""Parameter sharing of a trained network, as a compressor for a whole-model budget."""

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from overparam.compress.mask_model import treatable_weights
from overparam.compress.registry import CannotTreat, LeftAlone, parameter_budget
from overparam.compress.shared_model import SharedModel
from overparam.compress.sharing import share_parameters
from overparam.compress.sharing_methods import SHARING, roast_tile
from overparam.compress.single_names import single_names
from overparam.compress.warm_start import warm_start
from overparam.compress.weights import WeightSlot


def share_trained(model: nn.Module, method: str, *, ratio: float, seed: int) -> SharedModel:
    """Share the weights of a trained model, as near to them as sharing allows.

    The shared vector gets what the budget of all parameters, P / ratio, leaves beside those that
    are not shared.

    Args:
        model: dense; not changed.
        method: a name of ``SHARING``.
        ratio: dense parameters / parameters left, > 1.
        seed: of the map and the signs.

    Raises:
        ValueError: ratio <= 1.
        CannotTreat: nothing to share, or what is not shared is more than P / ratio already.

    Warns:
        LeftAlone: names weights that stay as they are.
    """
    budget = parameter_budget(model, ratio)
    slots = treatable_weights(model)
    left = dict(_unshareable(model, slots))
    shared = [slot for slot in slots if slot.name not in left]
    for name, reason in left.items():
        warnings.warn(f"{name}: {reason}, left dense", LeftAlone, stacklevel=3)
    total = sum(parameter.numel() for parameter in model.parameters())
    size = sum(slot.size for slot in shared)
    memory = budget - (total - size)
    if memory < 1:
        raise CannotTreat(
            f"ratio {ratio:g} leaves {total / ratio:.0f} of {total} parameters, but "
            f"{total - size} are not shared"
        )
    options: dict[str, Any] = dict(SHARING[method])
    if options["mapping"] == "roast":
        options["tile"] = roast_tile(memory)
    skip = [alias for slot in slots if slot.name in left for alias in slot.aliases]
    # Half a weight more, so that the compression's rounding leaves the memory as it is.
    names = single_names(model)
    distinct = names.emptied(model)
    net = share_parameters(distinct, size / (memory + 0.5), seed=seed, skip=skip, **options)
    started = warm_start(net, distinct)
    names.fill(started.skeleton)
    return started


def _unshareable(model: nn.Module, slots: list[WeightSlot]) -> Iterator[tuple[str, str]]:
    """Weights that ``share_parameters`` refuses, and why."""
    kinds = [(w.dtype, w.device) for w in (model.get_parameter(slot.name) for slot in slots)]
    usual = max(kinds, key=kinds.count)
    for slot, kind in zip(slots, kinds, strict=True):
        layers = [model.get_submodule(name) for name in slot.layers]
        tables = [layer for layer in layers if isinstance(layer, nn.Embedding)]
        weight = model.get_parameter(slot.name).detach()
        if slot.padding_row is not None:
            rows = torch.arange(len(weight), device=weight.device) != slot.padding_row
            weight = weight[rows]
        if kind != usual:
            yield slot.name, f"it is {kind[0]} on {kind[1]}, others {usual[0]} on {usual[1]}"
        elif any(table.max_norm is not None or table.sparse for table in tables):
            yield slot.name, "its embedding renormalises rows or has sparse gradients"
        elif weight.numel() < 2 or not float(weight.double().std()) > 0:
            yield slot.name, "its entries are all alike"
