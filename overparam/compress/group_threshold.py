"""Channel masks with a threshold per group of layers, and masks of layers that must agree.

Chu et al., *Group channel pruning and spatial attention distilling for object detection*, Applied
Intelligence 2022, section on group pruning, and its official code.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import ceil
from typing import Literal

import torch
from torch import Tensor

from overparam.compress.coupled_channels import ChannelGroup, CoupledAxis

Merge = Literal["or", "and", "least", "majority"]


def group_threshold(
    scores: Mapping[str, Tensor],
    groups: Sequence[Sequence[str]],
    rates: Sequence[float],
    *,
    layer_keep: float = 0.01,
    min_channels: Callable[[int], int] = lambda channels: max(1, channels // 8),
) -> dict[str, Tensor]:
    r"""Masks of channels: in group g, of :math:`n_g` channels, the int(:math:`p_g n_g`) least go.

    Args:
        scores: per layer a score per channel, e.g. :math:`|\gamma|` of its batch norm.
        groups: names of layers, each layer in exactly one group; one group of all is the global
            threshold.
        rates: :math:`p_g`, share of each group's channels to remove; ties go by index.
        layer_keep: every layer keeps this share of its channels at least,
        min_channels: and this many, given how many it has.

    Returns:
        Per layer a boolean mask (channels,), true where kept.

    Raises:
        ValueError: a rate outside [0, 1), another number of rates than groups, a layer that is
            missing, unknown or in two groups.

    Example:
        >>> scores = {"a": torch.tensor([0.1, 0.4]), "b": torch.tensor([0.2, 0.3])}
        >>> masks = group_threshold(scores, [["a", "b"]], [0.5])
        >>> {name: mask.tolist() for name, mask in masks.items()}
        {'a': [False, True], 'b': [False, True]}
    """
    named = [name for group in groups for name in group]
    if sorted(named) != sorted(scores):
        raise ValueError(f"groups hold {sorted(named)}; each of {sorted(scores)} is allowed once")
    if len(rates) != len(groups) or not all(0 <= rate < 1 for rate in rates):
        raise ValueError(f"rates are {list(rates)}; allowed: {len(groups)} rates in [0, 1)")
    masks: dict[str, Tensor] = {}
    for group, rate in zip(groups, rates, strict=True):
        joined = torch.cat([scores[name] for name in group])
        keep = torch.ones(len(joined), dtype=torch.bool)
        keep[joined.argsort(stable=True)[: int(rate * len(joined))]] = False
        sizes = [len(scores[name]) for name in group]
        for name, mask in zip(group, torch.split(keep, sizes), strict=True):
            size = len(mask)
            least = min(size, max(ceil(layer_keep * size), min_channels(size)))
            kept = mask.clone()
            if int(kept.sum()) < least:
                kept[scores[name].argsort(stable=True, descending=True)[:least]] = True
            masks[name] = kept
    return masks


def merge_masks(masks: Sequence[Tensor], merge: Merge = "or") -> Tensor:
    """One mask for layers whose outputs are added.

    Args:
        masks: boolean (channels,), true where kept.
        merge: ``or`` (any keeps it), ``and`` (all do), ``least`` (the mask that keeps fewest, the
            first of them), ``majority`` (at least half keep it: the official code's "or").

    Raises:
        ValueError: no mask, unequal lengths, or another ``merge``.

    Example:
        >>> merge_masks([torch.tensor([True, False]), torch.tensor([True, True])], "and").tolist()
        [True, False]
    """
    if not masks or len({mask.shape for mask in masks}) > 1:
        raise ValueError(f"masks of lengths {[len(mask) for mask in masks]}; allowed: equal ones")
    stacked = torch.stack(list(masks))
    if merge == "or":
        return stacked.any(0)
    if merge == "and":
        return stacked.all(0)
    if merge == "least":
        return stacked[int(stacked.sum(1).argmin())].clone()
    if merge == "majority":
        return 2 * stacked.sum(0) >= len(stacked)
    raise ValueError(f"merge is {merge!r}; allowed: or, and, least, majority")


def couple_masks(
    masks: Mapping[str, Tensor], groups: Iterable[ChannelGroup], merge: Merge = "or"
) -> dict[ChannelGroup, tuple[int, ...]]:
    """Units to remove from each group, given masks of some of the layers in it.

    The masks of all layers whose channels are coupled are merged; for a layer with several channels
    in a unit (a grouped convolution) the unit stays if any of them does. For
    :func:`remove_channels`.

    Args:
        masks: per layer (what writes channels, or its norm) a mask of its channels.
        groups: of :func:`channel_groups`.
        merge: see :func:`merge_masks`.

    Raises:
        ValueError: a mask of another length than its layer, or one that leaves nothing of a group.
    """
    removal = {}
    for group in groups:
        held = [
            axis
            for axis in group.axes
            if axis.layer in masks and axis.side in ("out", "both") and all(axis.channels)
        ]
        if not held:
            continue
        keep = merge_masks([_of_units(axis, masks[axis.layer]) for axis in held], merge)
        if not bool(keep.any()):
            raise ValueError(f"the masks leave no channel of group {group.name!r}")
        gone = (~keep).nonzero().flatten().tolist()
        if gone:
            removal[group] = tuple(gone)
    return removal


def _of_units(axis: CoupledAxis, mask: Tensor) -> Tensor:
    if mask.shape != (axis.size,):
        raise ValueError(
            f"the mask of {axis.layer!r} has shape {tuple(mask.shape)}; allowed ({axis.size},)"
        )
    return torch.stack([mask[list(channels)].any() for channels in axis.channels])
