"""Coupled channels: what has to leave a network together."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from overparam.compress.layer_axes import Side


@dataclass(frozen=True)
class CoupledAxis:
    """One side of a layer, or one dimension of a bare parameter, in a group.

    Attributes:
        layer: name of the module, or of the parameter.
        side: ``out``, ``in``, ``both``; ``parameter`` for a bare one.
        size: channels along it, those of other groups included.
        channels: per unit, the channels that leave with it.
        dim: dimension of a bare parameter.
    """

    layer: str
    side: Side | Literal["parameter"]
    size: int
    channels: tuple[tuple[int, ...], ...]
    dim: int = -1

    def of(self, units: Collection[int]) -> list[int]:
        """Channels that leave with ``units``, sorted."""
        return sorted({channel for unit in units for channel in self.channels[unit]})


@dataclass(frozen=True)
class SizeAttribute:
    """An integer of a module that counts channels or heads, e.g. ``num_attention_heads``.

    Attributes:
        module: name of the module.
        attribute: name of the attribute.
        position: where in it, if it is a tuple or list of integers.
        axis: which of the group's axes it counts; None: the units, or a multiple of them.
    """

    module: str
    attribute: str
    position: int | None
    axis: int | None


@dataclass(frozen=True)
class ChannelGroup:
    """Coupled sets of channels: a unit leaves all layers of the group at once, or none.

    A unit is a channel with all that reads or is added to it, or an attention head.

    Attributes:
        name: the layer that the group starts from.
        kind: ``channels`` or ``heads``.
        units: number of units.
        axes: the sides of layers that lose channels.
        attributes: integers of modules that follow.
        tempered: layers and their rows that make queries and keys of narrower heads, whose scores
            are divided by the root of the width: multiplied by the fourth root of the share kept.
    """

    name: str
    kind: Literal["channels", "heads"]
    units: int
    axes: tuple[CoupledAxis, ...]
    attributes: tuple[SizeAttribute, ...] = ()
    tempered: tuple[tuple[str, tuple[int, ...]], ...] = ()

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers and bare parameters in it, each once."""
        return tuple(dict.fromkeys(axis.layer for axis in self.axes))

    @property
    def writers(self) -> tuple[str, ...]:
        """Names of the layers whose outputs leave."""
        return tuple(dict.fromkeys(a.layer for a in self.axes if a.side == "out"))

    @property
    def readers(self) -> tuple[str, ...]:
        """Names of the layers whose inputs leave."""
        return tuple(dict.fromkeys(a.layer for a in self.axes if a.side == "in"))

    def size_of(self, attribute: SizeAttribute, removed: Collection[int], before: int) -> int:
        """What ``attribute`` is once the units ``removed`` are gone, if it was ``before``."""
        if attribute.axis is None:
            return before // self.units * (self.units - len(set(removed)))
        axis = self.axes[attribute.axis]
        return axis.size - len(axis.of(removed))


@dataclass(frozen=True)
class LeftOut:
    """Layers whose channels stay, and why."""

    layers: tuple[str, ...]
    reason: str

    def __str__(self) -> str:
        return f"{', '.join(self.layers)}: {self.reason}"


@dataclass(frozen=True)
class ChannelGroups:
    """The coupled channels of a network.

    Attributes:
        groups: in the order of the graph, from the output back.
        left_out: what can't be pruned.
    """

    groups: tuple[ChannelGroup, ...]
    left_out: tuple[LeftOut, ...]


Removal = Mapping[ChannelGroup, Collection[int]]
"""Units to remove, per group."""
