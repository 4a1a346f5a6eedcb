"""Try a group out: without some of its channels the network must equal the one with zeros there.

Tried on random weights, under which outputs depend on every channel: a wrong coupling can't hide
behind a small layer scale or an unused unit.
"""

import copy
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, combinations
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from overparam.compress.channel_removal import without_channels, zero_channels
from overparam.compress.coupled_channels import ChannelGroup, Removal, SizeAttribute
from overparam.compress.layer_axes import Unfollowable
from overparam.compress.model_outputs import compare_outputs, outputs_of
from overparam.datasets import Inputs
from overparam.training import Task

TRIES = 64
"""How many combinations of size attributes are tried for a group."""


def random_weights(model: nn.Module) -> nn.Module:
    """A copy in eval mode with random weights of ordinary size, the same every time."""
    probe = copy.deepcopy(model).eval()
    generator = torch.Generator().manual_seed(0)

    def noise(tensor: Tensor) -> Tensor:
        return torch.randn(tensor.shape, generator=generator).to(tensor)

    with torch.no_grad():
        for module in probe.modules():
            scale = isinstance(module, nn.modules.batchnorm._NormBase | nn.LayerNorm | nn.GroupNorm)
            for name, parameter in module.named_parameters(recurse=False):
                if not parameter.is_floating_point():
                    continue
                parameter.requires_grad_(True)
                if scale and name == "weight":
                    parameter.copy_(1 + 0.2 * noise(parameter))
                elif parameter.ndim > 1:
                    fan_in = parameter[0].numel()
                    parameter.copy_(noise(parameter) / sqrt(fan_in))
                else:
                    parameter.copy_(0.3 + 0.3 * noise(parameter))
            mean, variance = (getattr(module, f"running_{name}", None) for name in ("mean", "var"))
            if isinstance(mean, Tensor) and isinstance(variance, Tensor):
                mean.copy_(0.2 * noise(mean))
                variance.copy_(0.5 + noise(variance).abs())
    return probe


class Trial:
    """Checks groups on one network and one batch.

    Args:
        model: the network; tried with random weights, or its own if these give infinities.
        inputs: a batch.
        task: how the batch reaches the network.
    """

    def __init__(self, model: nn.Module, inputs: Inputs, task: Task | None) -> None:
        self.inputs, self.task = inputs, task
        self.probe = random_weights(model)
        if not self._runs():
            self.probe = copy.deepcopy(model).eval().requires_grad_(True)

    def _runs(self) -> bool:
        try:
            outputs = outputs_of(self.probe, self.inputs, self.task)
        except (ValueError, ArithmeticError, RuntimeError):
            return False
        return all(bool(output.isfinite().all()) for output in outputs)

    def checked(self, group: ChannelGroup) -> ChannelGroup:
        """The group with the size attributes that its removal needs.

        Raises:
            Unfollowable: with no set of attributes the smaller network equals the zeroed one.
        """
        if group.units < 2:
            raise Unfollowable("its channels can't be told apart")
        failed = ""
        for removed in _halves(group):
            expected = outputs_of(
                zero_channels(self.probe, {group: removed}), self.inputs, self.task
            )
            for attributes in _attribute_sets(self.probe, group, removed):
                variant = replace(group, attributes=attributes)
                reason = self.difference({variant: removed}, expected)
                if not reason:
                    return variant
                failed = failed or reason
        raise Unfollowable(failed)

    def difference(self, removal: Removal, expected: list[Tensor] | None = None) -> str:
        """What is wrong with the network after ``removal``; empty if nothing is."""
        try:
            if expected is None:
                zeroed = zero_channels(self.probe, removal)
                expected = outputs_of(zeroed, self.inputs, self.task)
            given = outputs_of(without_channels(self.probe, removal), self.inputs, self.task)
        except Unfollowable as error:
            return str(error)
        except Exception as error:
            return f"its forward pass fails without them ({type(error).__name__}: {error})"
        return compare_outputs(given, expected)


def _halves(group: ChannelGroup) -> Iterator[list[int]]:
    generator = torch.Generator().manual_seed(group.units)
    order = torch.randperm(group.units, generator=generator).tolist()
    yield sorted(order[: max(1, group.units // 2)])


def _attribute_sets(
    model: nn.Module, group: ChannelGroup, removed: list[int]
) -> Iterator[tuple[SizeAttribute, ...]]:
    """Sets of size attributes to try, the likely ones first, at most :data:`TRIES`."""
    found = _size_attributes(model, group, removed)
    heads = [a for a in found if group.kind == "heads" and "head" in a.attribute.lower()]
    likely = chain(
        # As many as fit: what counts heads should be right also where the forward pass ignores it.
        *(combinations(heads, number) for number in range(len(heads), -1, -1)),
        [tuple(found)],
        *(combinations(found, number) for number in range(1, len(found))),
    )
    tried: set[tuple[SizeAttribute, ...]] = set()
    for attributes in likely:
        places = {(a.module, a.attribute, a.position) for a in attributes}
        if len(places) < len(attributes) or attributes in tried:
            continue
        tried.add(attributes)
        yield attributes
        if len(tried) >= TRIES:
            return


def _size_attributes(
    model: nn.Module, group: ChannelGroup, removed: list[int]
) -> list[SizeAttribute]:
    counts: dict[tuple[int, int], int] = {}
    for index, axis in enumerate(group.axes):
        counts.setdefault((axis.size, axis.size - len(axis.of(removed))), index)
    found = []
    for name, module in model.named_modules():
        if not _may_count(name, module, group):
            continue
        for attribute, value in vars(module).items():
            for position, entry in _integers(attribute, value):
                if group.kind == "heads" and _is_head_width(attribute, entry, group):
                    continue
                multiple = "head" in attribute.lower() and entry % group.units == 0
                if group.kind == "heads" and (entry == group.units or multiple) and entry > 0:
                    found.append(SizeAttribute(name, attribute, position, None))
                for (old, _), axis_index in counts.items():
                    if entry == old:
                        found.append(SizeAttribute(name, attribute, position, axis_index))
    return found


def _is_head_width(attribute: str, value: int, group: ChannelGroup) -> bool:
    widths = {len(channels) for axis in group.axes for channels in axis.channels}
    return value in widths and any(word in attribute.lower() for word in ("dim", "size"))


def _may_count(name: str, module: nn.Module, group: ChannelGroup) -> bool:
    if type(module).__module__.startswith("torch.nn") and not isinstance(module, nn.Unflatten):
        return False
    above = any(layer == name or layer.startswith(name + ".") or not name for layer in group.layers)
    return above or not list(module.parameters())


def _integers(attribute: str, value: Any) -> Iterator[tuple[int | None, int]]:
    if attribute.startswith("_") or attribute == "training":
        return
    if isinstance(value, int) and not isinstance(value, bool):
        yield None, value
    elif isinstance(value, tuple | list):
        for position, entry in enumerate(value):
            if isinstance(entry, int) and not isinstance(entry, bool):
                yield position, entry
