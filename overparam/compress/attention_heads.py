"""Attention heads, found by what depends on what.

Between the layers that make queries, keys and values and the projection that reads the result,
the derivative of a context channel by a query, key or value channel is zero outside of its head.
Heads (with grouped keys: groups of heads) are therefore the connected components of that
dependence, whatever the layout of a fused query-key-value layer and whatever attributes count them.
"""

from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from overparam.compress.coupled_channels import ChannelGroup, CoupledAxis, LeftOut
from overparam.compress.dependency_graph import Candidate, Traced
from overparam.compress.model_outputs import run_task
from overparam.datasets import Inputs
from overparam.training import Task

_ATTENTION = ("bmm", "scaleddotproduct")
_OPERATIONS = (
    tp.ops._ConcatOp,
    tp.ops._SplitOp,
    tp.ops._ReshapeOp,
    tp.ops._ElementWiseOp,
    tp.ops._UnbindOp,
    tp.ops._ExpandOp,
    tp.ops._SliceOp,
    tp.ops._OutputOp,
)

_WITHIN_HEADS = (nn.LayerNorm, nn.RMSNorm, nn.Parameter)
"""What may lie between: norms of queries and keys, scales. What counts heads fails its trial."""


def attention_cores(traced: Traced) -> dict[nn.Linear, tuple[nn.Linear, ...]]:
    """Projections that read an attention's result, each with the layers that feed the attention.

    An attention is a product of computed matrices (``bmm``, ``scaled_dot_product_attention``) with
    nothing but operations between linear layers; ``nn.MultiheadAttention`` is a layer of its own.
    """
    cores: dict[nn.Linear, tuple[nn.Linear, ...]] = {}
    for module, node in traced.graph.module2node.items():
        if not isinstance(module, nn.Linear):
            continue
        feeding, attends = _feeding(node)
        linear = tuple(layer for layer in feeding if isinstance(layer, nn.Linear))
        if attends and linear and len(linear) == len(feeding):
            cores[module] = linear
    return cores


def attention_groups(
    traced: Traced, probe: nn.Module, inputs: Inputs, task: Task | None
) -> tuple[list[Candidate | LeftOut], frozenset[nn.Module]]:
    """A group per attention whose units are heads, and the layers whose outputs these hold.

    Args:
        traced: the network.
        probe: a copy of it with weights under which no derivative vanishes by chance.
        inputs: a batch.
        task: how the batch reaches the network.
    """
    names = {module: name for name, module in traced.model.named_modules()}
    cores = attention_cores(traced)
    found: list[Candidate | LeftOut] = []
    if not cores:
        return found, frozenset()
    caught = _run(
        probe, {names[p]: [names[f] for f in fs] for p, fs in cores.items()}, inputs, task
    )
    for projection, feeding in cores.items():
        layers = [names[layer] for layer in feeding]
        heads = _heads(names[projection], layers, caught)
        if isinstance(heads, str):
            found.append(LeftOut(tuple(layers), heads))
        else:
            found.append(_candidate(traced, projection, feeding, names, *heads))
    return found, frozenset(layer for feeding in cores.values() for layer in feeding)


def _feeding(node: Any) -> tuple[list[Any], bool]:
    feeding: dict[Any, None] = {}
    attends = False
    stack, seen = list(node.inputs), set()
    while stack:
        current = stack.pop()
        if current in seen:
            continue
        seen.add(current)
        if not isinstance(current.module, (*_OPERATIONS, *_WITHIN_HEADS)):
            feeding[current.module] = None
            continue
        name = current.grad_fn.name().lower() if hasattr(current.grad_fn, "name") else ""
        attends = attends or any(part in name for part in _ATTENTION)
        stack.extend(current.inputs)
    return list(feeding), attends


def _run(
    probe: nn.Module, cores: dict[str, list[str]], inputs: Inputs, task: Task | None
) -> dict[str, list[Tensor]]:
    caught: dict[str, list[Tensor]] = {}
    handles = []

    def catch_input(name: str) -> Any:
        return lambda module, args: caught.setdefault("in " + name, []).append(args[0])

    def catch_output(name: str) -> Any:
        return lambda module, args, output: caught.setdefault(name, []).append(output)

    try:
        for projection, feeding in cores.items():
            module = probe.get_submodule(projection)
            handles.append(module.register_forward_pre_hook(catch_input(projection)))
            for name in feeding:
                layer = probe.get_submodule(name)
                handles.append(layer.register_forward_hook(catch_output(name)))
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            run_task(probe, inputs, task)
    finally:
        for handle in handles:
            handle.remove()
    return caught


Heads = list[tuple[list[int], list[list[int]]]]
"""Per head: channels of the context, and per feeding layer its channels."""
Matched = list[list[int]]
"""Per feeding layer: channels on which more than one channel of the context depends."""


def _heads(
    projection: str, layers: list[str], caught: dict[str, list[Tensor]]
) -> tuple[Heads, Matched] | str:
    calls = [caught.get("in " + projection, []), *(caught.get(name, []) for name in layers)]
    if any(len(set(map(id, call))) != 1 for call in calls):
        return "an attention whose layers run more than once"
    context, *outputs = (call[0] for call in calls)
    depends = []
    for channel in range(context.shape[-1]):
        slopes = torch.autograd.grad(
            context[..., channel].sum(), outputs, retain_graph=True, allow_unused=True
        )
        depends.append(
            torch.cat(
                [
                    torch.zeros(out.shape[-1], dtype=torch.bool)
                    if slope is None
                    else (slope.flatten(0, -2) != 0).any(0).cpu()
                    for slope, out in zip(slopes, outputs, strict=True)
                ]
            )
        )
    dependence = torch.stack(depends)
    heads = _components(dependence)
    widths = [out.shape[-1] for out in outputs]
    split: Heads = []
    for context_channels, fed in heads:
        start, parts = 0, []
        for width in widths:
            parts.append([c - start for c in fed if start <= c < start + width])
            start += width
        split.append((context_channels, parts))
    shapes = {(len(channels), tuple(map(len, parts))) for channels, parts in split}
    if len(shapes) != 1 or sum(len(fed) for _, fed in heads) != sum(widths):
        return "an attention whose heads differ or do not use all of what feeds them"
    if len(split) == 1:
        return "an attention with a single head, or heads that share keys and values"
    many = torch.split(dependence.sum(0) > 1, widths)
    return split, [part.nonzero().flatten().tolist() for part in many]


def _components(depends: Tensor) -> list[tuple[list[int], list[int]]]:
    left = list(range(len(depends)))
    found = []
    while left:
        members, fed = [left[0]], depends[left[0]]
        while True:
            more = [k for k in left if bool((depends[k] & fed).any()) or k == left[0]]
            grown = depends[more].any(0)
            if more == members and torch.equal(grown, fed):
                break
            members, fed = more, grown
        found.append((members, fed.nonzero().flatten().tolist()))
        left = [k for k in left if k not in members]
    return found


def _candidate(
    traced: Traced,
    projection: nn.Linear,
    feeding: tuple[nn.Linear, ...],
    names: dict[nn.Module, str],
    heads: Heads,
    matched: Matched,
) -> Candidate:
    contexts = tuple(tuple(channels) for channels, _ in heads)
    axes = [CoupledAxis(names[projection], "in", projection.in_features, contexts)]
    prune_in = tp.pruner.function.prune_linear_in_channels
    prune_out = tp.pruner.function.prune_linear_out_channels
    entries = [(projection, prune_in, _rooted(contexts, contexts))]
    for index, layer in enumerate(feeding):
        rows = tuple(tuple(parts[index]) for _, parts in heads)
        axes.append(CoupledAxis(names[layer], "out", layer.out_features, rows))
        entries.append((layer, prune_out, _rooted(rows, contexts)))
    scored = tp.dependency.Group()
    for layer, handler, pairs in entries:
        node = traced.graph.module2node[layer]
        dependency = tp.dependency.Dependency(handler, handler, node, node)
        scored.add_dep(dependency, [channel for channel, _ in pairs])
        scored[len(scored) - 1].root_idxs = [origin for _, origin in pairs]
    group = ChannelGroup(names[projection], "heads", len(heads), tuple(axes))
    rows_matched = tuple(
        (names[layer], tuple(rows)) for layer, rows in zip(feeding, matched, strict=True) if rows
    )
    return Candidate(group, ((scored, contexts),), rows_matched)


def _rooted(
    rows: tuple[tuple[int, ...], ...], contexts: tuple[tuple[int, ...], ...]
) -> list[tuple[int, int]]:
    return sorted(
        (row, context[place % len(context)])
        for unit, context in zip(rows, contexts, strict=True)
        for place, row in enumerate(unit)
    )
