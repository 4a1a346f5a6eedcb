"""Which channels are coupled, by the dependency graph of the package torch-pruning.

Fang et al., *DepGraph: Towards Any Structural Pruning*, CVPR 2023, section 3.
"""

import copy
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch_pruning._helpers import _HybridIndex

from overparam.compress.coupled_channels import ChannelGroup, CoupledAxis, LeftOut
from overparam.compress.disjoint_sets import DisjointSets
from overparam.compress.layer_axes import Unfollowable, layer_axis
from overparam.compress.model_outputs import run_task, tensors_in
from overparam.datasets import Inputs
from overparam.training import Task

ROOTS = (nn.modules.conv._ConvNd, nn.Linear, nn.Embedding)
"""Layers whose outputs can start a group."""
TRACING = Lock()
"""torch-pruning keeps a dimension in objects that all its graphs share while it works."""


@dataclass(frozen=True)
class Traced:
    """A network with its dependency graph.

    Attributes:
        model: a copy in eval mode, all of its floating tensors with ``requires_grad``.
        graph: of the copy.
        outputs: nodes that compute what the model returns.
    """

    model: nn.Module
    graph: Any
    outputs: frozenset[Any]


@dataclass(frozen=True)
class Candidate:
    """A group as the graph has it, not tried out yet.

    Attributes:
        group: coupled channels; a single unit if they can't be told apart.
        scored: torch-pruning's groups for importance scores (several where tied tensors join
            groups), each with, per unit, the indices of the scores that belong to it.
        matched: of heads: the layers and their rows that make queries and keys.
    """

    group: ChannelGroup
    scored: tuple[tuple[Any, tuple[tuple[int, ...], ...]], ...]
    matched: tuple[tuple[str, tuple[int, ...]], ...] = ()


def trace_dependencies(model: nn.Module, inputs: Inputs, task: Task | None) -> Traced:
    """Trace a copy of ``model``.

    Raises:
        Unfollowable: torch-pruning fails, or no output depends on a parameter.
    """
    traced = copy.deepcopy(model).eval()
    for parameter in traced.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
        parameter.grad = None
    seen: list[Tensor] = []

    def forward(network: nn.Module, given: Inputs) -> list[Tensor]:
        outputs = tensors_in(run_task(network, given, task))
        seen.extend(output for output in outputs if output.grad_fn is not None)
        if not seen:
            raise Unfollowable("no output depends on a parameter by autograd")
        return seen

    graph = tp.DependencyGraph()
    try:
        with TRACING, torch.enable_grad(), torch.random.fork_rng(devices=[]):
            graph.build_dependency(traced, inputs, forward_fn=forward, verbose=False)
    except Unfollowable:
        raise
    except Exception as error:
        raise Unfollowable(
            f"torch-pruning can't follow its graph ({type(error).__name__}: {error})"
        ) from error
    last = {output.grad_fn for output in seen}
    nodes = graph.module2node.values()
    return Traced(traced, graph, frozenset(node for node in nodes if node.grad_fn in last))


Stream = frozenset[tuple[str, str]]
"""Sides of layers, (name, side), that share their channels."""


def graph_groups(
    traced: Traced, skip: frozenset[nn.Module]
) -> tuple[list[Candidate | LeftOut], list[Stream]]:
    """The groups of all layers that have outputs to prune, each layer in one.

    Groups that reach the model's outputs are left out in silence: a classifier keeps its classes.

    Args:
        traced: the network.
        skip: layers whose outputs other groups hold.

    Returns:
        The groups, and the sides that each of them, also those left out, goes through.
    """
    names = {module: name for name, module in traced.model.named_modules()}
    found: list[Candidate | LeftOut] = []
    streams: list[Stream] = []
    visited: set[nn.Module] = set(skip)
    for module in list(traced.graph.module2node):
        if not isinstance(module, ROOTS) or module in visited:
            continue
        visited.add(module)
        try:
            with TRACING:
                reached = _reach(traced.graph, module)
                modules = {(node.module, side) for node, side in reached if node.module in names}
                writers = {layer for layer, side in modules if side != "in"}
                visited |= writers
                streams.append(frozenset((names[layer], side) for layer, side in modules))
                if writers & skip or _reaches_output(traced, reached):
                    continue
                found.append(_candidate(traced, module, reached, names))
        except Unfollowable as error:
            found.append(LeftOut((names[module],), str(error)))
        except Exception as error:
            reason = f"torch-pruning can't follow it ({type(error).__name__}: {error})"
            found.append(LeftOut((names[module],), reason))
    return found, streams


Reached = dict[tuple[Any, str], set[tuple[int, int]]]
"""Per node and side, the pairs (channel there, channel of the root)."""


def _reaches_output(traced: Traced, reached: Reached) -> bool:
    return any(
        side != "in" and (node in traced.outputs or not node.outputs) for node, side in reached
    )


def _candidate(
    traced: Traced, root: nn.Module, reached: Reached, names: dict[nn.Module, str]
) -> Candidate:
    graph = traced.graph
    size = graph.get_out_channels(root)
    sets = DisjointSets(range(size))
    axes: list[tuple[Any, ...]] = []
    for (node, side), pairs in reached.items():
        holders: dict[int, set[int]] = {}
        for channel, origin in pairs:
            holders.setdefault(channel, set()).add(origin)
        for origins in holders.values():
            sets.join(origins)
        place = _place(traced, node, side, names)
        if place is not None:
            layer, layer_side, dim, full, runs = place
            _join_runs(sets, holders, full, runs)
            axes.append((layer, layer_side, dim, full, holders))
    units = sets.sets()
    number = {origin: unit for unit, origins in enumerate(units) for origin in origins}
    merged: list[CoupledAxis] = []
    for layer, layer_side, dim, full, holders in axes:
        channels: list[list[int]] = [[] for _ in units]
        for channel, origins in sorted(holders.items()):
            channels[number[next(iter(origins))]].append(channel)
        merged.append(CoupledAxis(layer, layer_side, full, tuple(map(tuple, channels)), dim))
    prune = graph.get_pruner_of_module(root).prune_out_channels
    scored = graph.get_pruning_group(root, prune, list(range(size)))
    group = ChannelGroup(names[root], "channels", len(units), tuple(merged))
    return Candidate(group, ((scored, tuple(map(tuple, units))),))


def _join_runs(sets: DisjointSets[int], holders: dict[int, set[int]], size: int, runs: int) -> None:
    """A layer with equal runs loses the same channels of each."""
    if runs == 1:
        return
    if len(holders) != size:
        raise Unfollowable("a grouped layer reads channels of several groups")
    run = size // runs
    for channel in range(run):
        sets.join(origin for r in range(runs) for origin in holders[r * run + channel])


def _reach(graph: Any, root: nn.Module) -> Reached:
    # The walk of DependencyGraph.get_pruning_group, which drops from its result that two channels
    # of the root meet in one place (both halves of a gate): here the pairs are all kept.
    start = tuple(_HybridIndex(idx=k, root_idx=k) for k in range(graph.get_out_channels(root)))
    widest = max(max(p.shape, default=1) for p in graph.model.parameters())
    reached: Reached = {}
    known: set[tuple[Any, Any, tuple[Any, ...]]] = set()
    prune = graph.get_pruner_of_module(root).prune_out_channels
    stack = [(graph.module2node[root], prune, start)]
    while stack:
        node, handler, channels = stack.pop()
        if (node, handler, channels) in known:
            continue
        known.add((node, handler, channels))
        pairs = reached.setdefault((node, _side(graph, node, handler)), set())
        if any(channel.root_idx is None for channel in channels):
            raise Unfollowable("torch-pruning loses track of its channels in an expansion")
        pairs |= {(channel.idx, channel.root_idx) for channel in channels}
        for dependency in node.dependencies:
            if dependency.is_triggered_by(handler):
                moved: Any = list(channels)
                for mapping in dependency.index_mapping:
                    if mapping is not None:
                        moved = mapping(moved)
                if len(moved) > widest or _out_of_range(graph, dependency, moved):
                    raise Unfollowable("torch-pruning loses track of its channels in a reshape")
                if moved:
                    stack.append((dependency.target, dependency.handler, tuple(moved)))
    return reached


def _out_of_range(graph: Any, dependency: Any, channels: list[Any]) -> bool:
    module = dependency.target.module
    if not isinstance(module, (*ROOTS, nn.modules.batchnorm._NormBase)):
        return False
    into = dependency.handler == graph.get_pruner_of_module(module).prune_in_channels
    size = graph.get_in_channels(module) if into else graph.get_out_channels(module)
    return any(not 0 <= channel.idx < size for channel in channels)


def _side(graph: Any, node: Any, handler: Any) -> str:
    pruner = graph.get_pruner_of_module(node.module)
    if pruner.prune_out_channels == pruner.prune_in_channels:
        return "both"
    return "out" if handler == pruner.prune_out_channels else "in"


def _place(
    traced: Traced, node: Any, side: str, names: dict[nn.Module, str]
) -> tuple[str, Any, int, int, int] | None:
    module = node.module
    if isinstance(module, nn.Parameter):
        name = traced.graph._param_to_name[module]
        path = name.rpartition(".")[0]
        owner = traced.model.get_submodule(path)
        if isinstance(owner, nn.RMSNorm):
            axis = layer_axis(owner, "both")
            return path, "both", -1, axis.size, axis.runs
        return name, "parameter", node.pruning_dim, module.shape[node.pruning_dim], 1
    if module not in names or node.type == tp.ops.OPTYPE.ELEMENTWISE:
        return None
    if isinstance(module, nn.PReLU) and module.num_parameters == 1:
        return None
    if isinstance(module, nn.Embedding):
        side = "out"
    axis = layer_axis(module, side)  # type: ignore[arg-type]
    return names[module], side, -1, axis.size, axis.runs
