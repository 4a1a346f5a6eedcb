"""The coupled channels and attention heads of any network, each group tried out."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from torch import nn

from overparam.compress.attention_heads import attention_groups
from overparam.compress.coupled_channels import ChannelGroups, LeftOut
from overparam.compress.dependency_graph import (
    Candidate,
    Stream,
    Traced,
    graph_groups,
    trace_dependencies,
)
from overparam.compress.group_check import Trial
from overparam.compress.layer_axes import Unfollowable
from overparam.compress.narrowed_heads import meets, narrowed_heads
from overparam.compress.tied_groups import join_tied
from overparam.datasets import Inputs
from overparam.training import Task

_PRUNABLE = (
    nn.modules.conv._ConvNd,
    nn.Linear,
    nn.Embedding,
    nn.MultiheadAttention,
    nn.RNNBase,
    nn.RNNCellBase,
)


@dataclass(frozen=True)
class GroupedNetwork:
    """A network with the groups that passed their trial.

    Attributes:
        traced: the copy that the dependency graph belongs to.
        candidates: groups with what their importance is computed from.
        left_out: what can't be pruned.
        trial: the network and batch that the groups were tried on.
        streams: sides of layers that share channels, also of what is left out.
    """

    traced: Traced
    candidates: tuple[Candidate, ...]
    left_out: tuple[LeftOut, ...]
    trial: Trial
    streams: tuple[Stream, ...]


def channel_groups(
    model: nn.Module, example: Inputs, *, task: Task | None = None, keep: Collection[str] = ()
) -> ChannelGroups:
    """The coupled sets of channels: what has to leave together (Fang et al. 2023, section 3.2).

    Shortcuts, concatenations, splits, flattenings, grouped convolutions and norms are followed by
    torch-pruning's dependency graph; attention heads by which outputs depend on which. Each group
    is then tried out: without half of its units the network must equal the dense one with zeros in
    their place, or it is left out, with the reason.

    Args:
        model: any network; is not changed.
        example: a batch of a few samples.
        task: how the batch reaches the model; by default it is called with it.
        keep: names of modules whose outputs must stay.

    Raises:
        Unfollowable: the graph can't be traced at all.
        ValueError: a name in ``keep`` is no module of the model.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> [(g.units, g.layers) for g in channel_groups(net, torch.ones(4, 3)).groups]
        [(8, ('0', '2'))]
    """
    found = grouped_network(model, example, task=task, keep=keep)
    return ChannelGroups(tuple(c.group for c in found.candidates), found.left_out)


def grouped_network(
    model: nn.Module, example: Inputs, *, task: Task | None = None, keep: Collection[str] = ()
) -> GroupedNetwork:
    """As :func:`channel_groups`, with the graph that the groups come from."""
    names = dict(model.named_modules())
    unknown = [name for name in keep if name not in names]
    if unknown:
        raise ValueError(f"keep names {unknown}, which are no modules of the model")
    _check_plain(model)
    traced = trace_dependencies(model, example, task)
    trial = Trial(model, example, task)
    heads, held = attention_groups(traced, trial.probe, example, task)
    kept = {part for name in keep for part in names[name].modules()}
    passed: list[Candidate] = []
    failed: list[tuple[Candidate, str]] = []
    channels, streams = graph_groups(traced, held)
    left = [found for found in (*heads, *channels) if isinstance(found, LeftOut)]
    candidates = [found for found in (*heads, *channels) if isinstance(found, Candidate)]
    for candidate in join_tied(traced.model, candidates):
        sides = candidate.group.axes
        if any(axis.side != "in" and names.get(axis.layer) in kept for axis in sides):
            continue
        reason = _try(trial, candidate, passed)
        if reason:
            failed.append((candidate, reason))
    for stream, _ in list(failed):
        cores = [c for c, _ in failed if meets(stream.group, c.group)]
        for narrowed in narrowed_heads(stream, cores):
            if not _try(trial, narrowed, passed):
                failed = [entry for entry in failed if entry[0] not in (stream, *cores)]
                break
    left += [LeftOut(c.group.writers or c.group.layers, reason) for c, reason in failed]
    left += _unseen(traced)
    return GroupedNetwork(traced, tuple(passed), tuple(left), trial, tuple(streams))


def _try(trial: Trial, candidate: Candidate, passed: list[Candidate]) -> str:
    """Add the group to those that passed; what is wrong with it, empty if nothing is."""
    try:
        group = trial.checked(candidate.group)
    except Unfollowable as error:
        return str(error)
    claimed = {
        (a.module, a.attribute, a.position) for other in passed for a in other.group.attributes
    }
    for size in group.attributes:
        if (size.module, size.attribute, size.position) in claimed:
            return f"{size.attribute} of {size.module!r} counts channels of another group, too"
    passed.append(replace(candidate, group=group))
    return ""


def _check_plain(model: nn.Module) -> None:
    changed = [
        name
        for name, module in model.named_modules()
        if isinstance(module, _PRUNABLE)
        and isinstance(getattr(type(module), "weight", None), property)
    ]
    if changed:
        raise Unfollowable(
            f"the weights of {', '.join(changed)} are masked, quantised or computed: "
            "prune channels first"
        )


def _unseen(traced: Traced) -> list[LeftOut]:
    """Layers that the graph does not reach, and recurrent ones, whose states it can't narrow."""
    found = []
    seen = set(traced.graph.module2node)
    inside = {
        part
        for module in traced.model.modules()
        if isinstance(module, nn.MultiheadAttention)
        for part in module.modules()
        if part is not module
    }
    for name, module in traced.model.named_modules():
        if not isinstance(module, _PRUNABLE) or module in inside:
            continue
        if isinstance(module, nn.RNNBase | nn.RNNCellBase):
            found.append(LeftOut((name,), "the state of a recurrent layer is not followed"))
        elif module not in seen:
            found.append(LeftOut((name,), "the forward pass does not reach it by autograd"))
    return found
