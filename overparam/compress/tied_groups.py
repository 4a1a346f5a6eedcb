"""Groups that meet in a tied tensor are one group: what leaves one name of it leaves all."""

from collections import Counter
from collections.abc import Iterator, Sequence

from torch import nn

from overparam.compress.coupled_channels import ChannelGroup, CoupledAxis
from overparam.compress.dependency_graph import Candidate
from overparam.compress.disjoint_sets import DisjointSets
from overparam.compress.layer_axes import layer_axis

Unit = tuple[int, int]
"""Number of a candidate and of one of its units."""


def join_tied(model: nn.Module, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Join candidates, and their units, that hold the same row or column of a tied tensor."""
    names = Counter(id(tensor) for _, tensor in model.named_parameters(remove_duplicate=False))
    if max(names.values(), default=1) == 1:
        return list(candidates)
    meeting: dict[tuple[int, int, int], list[Unit]] = {}
    for number, candidate in enumerate(candidates):
        for tensor, dim, place, unit in _places(model, candidate.group):
            if names[tensor] > 1:
                meeting.setdefault((tensor, dim, place), []).append((number, unit))
    whole = DisjointSets(range(len(candidates)))
    for units in meeting.values():
        whole.join(number for number, _ in units)
    joined = []
    for members in whole.sets():
        if len(members) == 1:
            joined.append(candidates[members[0]])
            continue
        sets = DisjointSets(
            (number, unit) for number in members for unit in range(candidates[number].group.units)
        )
        for units in meeting.values():
            if units[0][0] in members:
                sets.join(units)
        joined.append(_joined(candidates, members, sets.sets()))
    return joined


def _places(model: nn.Module, group: ChannelGroup) -> Iterator[tuple[int, int, int, int]]:
    """Tensor, dimension, position and unit of all that the group holds of its layers."""
    for axis in group.axes:
        if axis.side == "parameter":
            continue
        layer = model.get_submodule(axis.layer)
        for entry in layer_axis(layer, axis.side).tensors:
            owner = layer.get_submodule(entry.tensor.rpartition(".")[0])
            tensor = getattr(owner, entry.tensor.rpartition(".")[2])
            for unit, channels in enumerate(axis.channels):
                for channel in channels:
                    yield id(tensor), entry.dim, channel % (axis.size // entry.folds), unit


def _joined(
    candidates: Sequence[Candidate], members: Sequence[int], units: list[list[Unit]]
) -> Candidate:
    def over(number: int, of_unit: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
        return tuple(
            tuple(entry for owner, unit in joint if owner == number for entry in of_unit[unit])
            for joint in units
        )

    axes, scored = [], []
    for number in members:
        candidate = candidates[number]
        for axis in candidate.group.axes:
            channels = over(number, axis.channels)
            axes.append(CoupledAxis(axis.layer, axis.side, axis.size, channels, axis.dim))
        scored += [(group, over(number, roots)) for group, roots in candidate.scored]
    first = candidates[members[0]].group
    return Candidate(ChannelGroup(first.name, "channels", len(units), tuple(axes)), tuple(scored))
