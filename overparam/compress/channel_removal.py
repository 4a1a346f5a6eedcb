"""Take coupled channels out of a network, or set them to zero in it."""

import copy
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from overparam.compress.coupled_channels import ChannelGroup, Removal
from overparam.compress.layer_axes import (
    ACROSS_CHANNELS,
    Side,
    Unfollowable,
    blank,
    layer_axis,
    narrow,
    scale_rows,
    set_zero,
    take_out,
)

Axis = tuple[str, Side | str, int]


def remove_channels(model: nn.Module, removal: Removal) -> nn.Module:
    """A smaller copy without the given units.

    Layers lose rows and columns, integer attributes that count them follow, tied tensors stay tied,
    ``requires_grad`` and the mode of each module are kept.

    Args:
        model: is not changed.
        removal: units to remove, per group of :func:`channel_groups` of a model of this shape.

    Raises:
        Unfollowable: the units can't be taken out of some layer; the message says why.
        ValueError: a unit that the group does not have, or all of its units.
    """
    for group, units in removal.items():
        if not set(units) < set(range(group.units)):
            raise ValueError(
                f"units {sorted(set(units))} of group {group.name!r}; allowed: some but not all "
                f"of 0..{group.units - 1}"
            )
    small = copy.deepcopy(model)
    _take_out(small, removal)
    return small


def without_channels(model: nn.Module, removal: Removal) -> nn.Module:
    """As :func:`remove_channels`, sharing all untouched tensors with ``model``."""
    small = structure_copy(model)
    _take_out(small, removal)
    return small


def zero_channels(model: nn.Module, removal: Removal) -> nn.Module:
    """The dense network with the channels that would be removed at zero.

    Weights that write and read them are zero. A norm that goes across channels, or a small module
    of the model's own with a vector of weights, runs on the other channels only (by a hook: this
    copy is for comparison, not for use). Its outputs equal those of :func:`remove_channels`.

    Raises:
        Unfollowable: as :func:`remove_channels`.
    """
    dense = structure_copy(model)
    own: dict[str, list[tuple[str, int, set[int]]]] = {}
    for (name, side, dim), channels in _removed(removal).items():
        if side == "parameter":
            owner, attribute = parent_of(dense, name)
            blank(owner, attribute, dim, channels)
            own.setdefault(name.rpartition(".")[0], []).append((attribute, dim, channels))
            continue
        layer = dense.get_submodule(name)
        if isinstance(layer, ACROSS_CHANNELS):
            small = structure_copy(layer)
            take_out(small, side, channels)  # type: ignore[arg-type]
            size = layer_axis(layer, side).size  # type: ignore[arg-type]
            dims = (1,) if isinstance(layer, nn.GroupNorm) else (-1, 1)
            _on_kept(layer, small, size, channels, dims)
        else:
            set_zero(layer, side, channels)  # type: ignore[arg-type]
    for name, parameters in own.items():
        _own_module(dense, model, name, parameters)
    return dense


def _own_module(
    dense: nn.Module, model: nn.Module, name: str, parameters: list[tuple[str, int, set[int]]]
) -> None:
    layer, small = dense.get_submodule(name), structure_copy(model.get_submodule(name))
    if not name or list(layer.children()):
        return
    sizes = {getattr(small, attribute).shape[dim] for attribute, dim, _ in parameters}
    removed = {frozenset(channels) for _, _, channels in parameters}
    if len(sizes) == len(removed) == 1:
        for attribute, dim, channels in parameters:
            narrow(small, attribute, dim, channels)
        _on_kept(layer, small, sizes.pop(), set(removed.pop()), (-1, 1))


def structure_copy(model: nn.Module) -> nn.Module:
    """A deep copy of the modules that shares every tensor with ``model``."""
    tensors: dict[int, Any] = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        tensors[id(tensor)] = tensor
    return copy.deepcopy(model, tensors)


def parameters_left(model: nn.Module, removal: Removal) -> int:
    """Parameters of ``model`` (tied ones once) without the given units, in closed form."""
    lost: dict[tuple[int, int], int] = {}
    for (name, side, dim), channels in _removed(removal).items():
        if side == "parameter":
            owner, attribute = parent_of(model, name)
            lost[id(getattr(owner, attribute)), dim] = len(channels)
            continue
        layer = model.get_submodule(name)
        axis = layer_axis(layer, side)  # type: ignore[arg-type]
        for entry in axis.tensors:
            tensor = layer
            for part in entry.tensor.split("."):
                tensor = getattr(tensor, part)
            gone = len(entry.positions(channels, axis.size))
            lost[id(tensor), entry.dim] = gone
    total = 0
    for parameter in model.parameters():
        left = 1
        for dim, size in enumerate(parameter.shape):
            left *= size - lost.get((id(parameter), dim), 0)
        total += left
    return total


def parent_of(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that holds what is called ``name``, and the name in it."""
    path, _, attribute = name.rpartition(".")
    return model.get_submodule(path), attribute


def _removed(removal: Removal) -> dict[Axis, set[int]]:
    found: dict[Axis, set[int]] = {}
    for group, units in removal.items():
        for axis in group.axes:
            channels = axis.of(units)
            if channels:
                found.setdefault((axis.layer, axis.side, axis.dim), set()).update(channels)
    return found


def _take_out(model: nn.Module, removal: Removal) -> None:
    ties: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        ties.setdefault(id(parameter), []).append(name)
    for group, units in removal.items():
        share = 1 - len(set(units)) / group.units
        for name, rows in group.tempered:
            scale_rows(model.get_submodule(name), rows, share**0.25)
    for (name, side, dim), channels in _removed(removal).items():
        if side == "parameter":
            owner, attribute = parent_of(model, name)
            narrow(owner, attribute, dim, channels)
        else:
            take_out(model.get_submodule(name), side, channels)  # type: ignore[arg-type]
    _tie_again(model, [names for names in ties.values() if len(names) > 1])
    for group, units in removal.items():
        _set_sizes(model, group, units)


def _tie_again(model: nn.Module, ties: list[list[str]]) -> None:
    for names in ties:
        first = model.get_parameter(names[0])
        for name in names[1:]:
            other = model.get_parameter(name)
            if other is first:
                continue
            if other.shape != first.shape or not torch.equal(other, first):
                raise Unfollowable(f"{names[0]} is tied to {name}, which loses other channels")
            owner, attribute = parent_of(model, name)
            setattr(owner, attribute, first)


def _set_sizes(model: nn.Module, group: ChannelGroup, units: Collection[int]) -> None:
    for attribute in group.attributes:
        module = model.get_submodule(attribute.module)
        old = getattr(module, attribute.attribute)
        position = attribute.position
        size: Any = group.size_of(attribute, units, old if position is None else old[position])
        if position is not None:
            values = list(old)
            values[position] = size
            size = values if isinstance(old, list) else type(old)(values)
        setattr(module, attribute.attribute, size)


def _on_kept(
    layer: nn.Module, small: nn.Module, size: int, removed: set[int], dims: tuple[int, ...]
) -> None:
    keep = torch.tensor([k for k in range(size) if k not in removed])

    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        for dim in _candidates(args, size, dims):
            kept = small(args[0].index_select(dim, keep.to(args[0].device)))
            full = torch.zeros_like(output)
            return full.index_copy(dim, keep.to(args[0].device), kept)
        return output

    layer.register_forward_hook(hook)


def _candidates(args: tuple[Any, ...], size: int, dims: tuple[int, ...]) -> Iterator[int]:
    if args and isinstance(args[0], Tensor):
        for dim in dims:
            if -args[0].ndim <= dim < args[0].ndim and args[0].shape[dim] == size:
                yield dim
