"""Heads that get narrower together with the width between the blocks.

Hand-written attention that takes heads x depth from the width of its input
(``x.view(B, T, heads, C // heads)``) can lose neither heads nor input channels alone. It can lose a
channel of every head together with as many of the input.
"""

from collections.abc import Iterator, Sequence

from overparam.compress.coupled_channels import ChannelGroup, CoupledAxis
from overparam.compress.dependency_graph import Candidate
from overparam.compress.disjoint_sets import DisjointSets

Units = list[list[int]]
"""Channels of the stream (and of the context) that leave together."""


def meets(stream: ChannelGroup, heads: ChannelGroup) -> bool:
    """Whether an attention reads or writes the channels of ``stream``."""
    between = {*((layer, "in") for layer in heads.writers), (heads.name, "out")}
    sides = {(axis.layer, axis.side) for axis in stream.axes}
    return heads.kind == "heads" and stream.kind == "channels" and bool(between & sides)


def narrowed_heads(stream: Candidate, attentions: Sequence[Candidate]) -> Iterator[Candidate]:
    """The stream and all of its attentions as one group, to be tried out in the given order.

    First with scores scaled by a constant, then with scores divided by the root of the depth, where
    queries and keys make up for it.

    Args:
        stream: channels between the blocks, one per unit.
        attentions: as wide as the stream, their units heads.
    """
    width = stream.group.units
    sets = DisjointSets(range(width))
    for attention in attentions:
        contexts = attention.group.axes[0].channels
        depth = len(contexts[0])
        if len(contexts) * depth != width or not _in_blocks(attention.group, depth):
            return
        for place in range(depth):
            sets.join(context[place] for context in contexts)
    units = sets.sets()
    if not attentions or len({len(unit) for unit in units}) != 1:
        return
    axes = [_over_units(axis, units) for axis in stream.group.axes]
    scored = [(group, _joined(roots, units)) for group, roots in stream.scored]
    for attention in attentions:
        contexts = attention.group.axes[0].channels
        axes += [_by_depth(axis, contexts, units) for axis in attention.group.axes]
        scored += [(group, tuple(map(tuple, units))) for group, _ in attention.scored]
    matched = tuple(entry for attention in attentions for entry in attention.matched)
    for tempered in ((), matched):
        group = ChannelGroup(
            stream.group.name, "channels", len(units), tuple(axes), tempered=tempered
        )
        yield Candidate(group, tuple(scored))


def _in_blocks(group: ChannelGroup, depth: int) -> bool:
    return all(len(rows) % depth == 0 for axis in group.axes for rows in axis.channels)


def _joined(parts: Sequence[tuple[int, ...]], units: Units) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(entry for channel in unit for entry in parts[channel]) for unit in units)


def _over_units(axis: CoupledAxis, units: Units) -> CoupledAxis:
    return CoupledAxis(axis.layer, axis.side, axis.size, _joined(axis.channels, units), axis.dim)


def _by_depth(axis: CoupledAxis, contexts: Sequence[tuple[int, ...]], units: Units) -> CoupledAxis:
    # Rows of a head come as queries, keys, values, each in the order of the depth.
    of_channel: dict[int, list[int]] = {}
    for rows, context in zip(axis.channels, contexts, strict=True):
        for place, row in enumerate(rows):
            of_channel.setdefault(context[place % len(context)], []).append(row)
    channels = tuple(tuple(row for c in unit for row in of_channel[c]) for unit in units)
    return CoupledAxis(axis.layer, axis.side, axis.size, channels)
