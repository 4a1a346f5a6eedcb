"""Follow the data flow with `torch.fx`: who reads an operation, and where pairs belong."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import fx, nn
from torch.nn import functional as F

from overparam.adapt.operations import FOLDABLE, NORMS

WEIGHTED_FUNCTIONS = (
    F.linear,
    F.bilinear,
    F.layer_norm,
    F.group_norm,
    F.batch_norm,
    F.instance_norm,
    torch.conv1d,
    torch.conv2d,
    torch.conv3d,
    torch.conv_transpose1d,
    torch.conv_transpose2d,
    torch.conv_transpose3d,
)


class OperationTracer(fx.Tracer):
    """A tracer that keeps every foldable operation whole, custom subclasses included."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Stop at foldable operations and at torch's own layers."""
        return isinstance(m, FOLDABLE) or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module) -> fx.Graph:
    """Return the model's graph, with foldable operations as leaves.

    Raises:
        ValueError: the model cannot be traced (control flow that depends on data); the cause is
            chained.
    """
    try:
        return OperationTracer().trace(model)
    except Exception as cause:  # tracing runs the user's code on proxies: anything can come out
        raise ValueError(
            f"{type(model).__name__} cannot be traced symbolically ({cause}); use a rule by name "
            "or type instead"
        ) from cause


@dataclass(frozen=True)
class Consumers:
    """Who reads the output of each operation.

    Attributes:
        readers: operation name to reader names; what is not a module call is `<description>`.
        sources: module name to the names of everything that it reads as first argument.
    """

    readers: dict[str, list[str]]
    sources: dict[str, set[str]]

    def sole_input(self, reader: str, name: str) -> bool:
        """Say whether `reader` reads `name` and nothing else, in every call."""
        return self.sources.get(reader) == {name}


def consumers(model: nn.Module) -> Consumers:
    """Trace a model and list who reads the output of each foldable operation.

    Raises:
        ValueError: the model cannot be traced.
    """
    names = canonical_names(model)
    readers: dict[str, list[str]] = {
        name: [] for name, m in model.named_modules() if isinstance(m, FOLDABLE)
    }
    sources: dict[str, set[str]] = {}
    for node in trace(model).nodes:
        if node.op == "call_module":
            target = names[str(node.target)]
            for argument in node.all_input_nodes:
                sources.setdefault(target, set()).add(_label(argument, names))
            if target in readers:
                fresh = [_label(user, names) for user in node.users if not _asks_shape(user)]
                readers[target] += [label for label in fresh if label not in readers[target]]
    return Consumers(readers, sources)


def canonical_names(model: nn.Module) -> dict[str, str]:
    """Map every name of a module, aliases included, to the first name of that module."""
    first = {id(module): name for name, module in model.named_modules()}
    every = model.named_modules(remove_duplicate=False)
    return {name: first[id(module)] for name, module in every}


def _asks_shape(node: fx.Node) -> bool:
    """Say whether a node reads a tensor's shape or type and not its values."""
    if node.op == "call_method":
        return node.target in ("size", "dim", "ndimension")
    return node.target is getattr and node.args[1] in ("shape", "ndim", "dtype", "device")


def _label(node: fx.Node, names: dict[str, str]) -> str:
    if node.op == "call_module":
        return names[str(node.target)]
    return f"<{node.op} {node.name}>"


@dataclass(frozen=True)
class TracedRule:
    """An insertion rule read off a model's data flow.

    Use: `rule = traced_rule(model); inject_ssf(model, rule, head=rule.heads)`.

    Attributes:
        targets: operations that get a pair, in order of execution.
        heads: linear maps with no other operation between them and the output; pass them as
            `head`.
        skipped: `{operation or function: why it gets no pair}`.
    """

    targets: tuple[str, ...]
    heads: tuple[str, ...]
    skipped: dict[str, str] = field(default_factory=dict)

    def __call__(self, name: str, module: nn.Module) -> bool:
        """Say whether this module gets a pair."""
        return name in self.targets


def traced_rule(model: nn.Module) -> TracedRule:
    """Find where pairs belong in an unknown architecture by tracing it.

    Every operation that the forward pass calls gets a pair, except
    - heads: the last linear map on a path to the output, since they are trained anyway;
    - operations whose weight is also read outside a call (tied or re-used), where folding would
      change the other reader;
    - operations that are never called.
    Functions with weights (`F.linear(x, w)`) have no module to hold a pair and are reported.

    Raises:
        ValueError: the model cannot be traced, or has no operation for a pair.
    """
    names = canonical_names(model)
    operations: dict[str, nn.Module] = {
        n: m for n, m in model.named_modules() if isinstance(m, FOLDABLE)
    }
    graph = trace(model)
    called: dict[str, None] = {}
    skipped: dict[str, str] = {}
    read_elsewhere: set[str] = set()
    for node in graph.nodes:
        if node.op == "call_module" and names[str(node.target)] in operations:
            called[names[str(node.target)]] = None
        elif node.op == "get_attr" and not all(_asks_shape(user) for user in node.users):
            owner = names.get(str(node.target).rpartition(".")[0])
            if owner in operations:
                read_elsewhere.add(owner)
        elif node.op == "call_function" and node.target in WEIGHTED_FUNCTIONS:
            skipped[f"<{node.name}>"] = "a function call: no module holds its weight"
    heads = _heads(graph, names, operations)
    skipped |= dict.fromkeys(operations.keys() - called.keys(), "never called in the forward pass")
    skipped |= dict.fromkeys(read_elsewhere, "its weight is read outside its call")
    skipped |= dict.fromkeys(heads, "a head, trained anyway")
    targets = tuple(name for name in called if name not in skipped)
    if not targets:
        raise ValueError(f"{type(model).__name__} has no operation for a pair: {skipped}")
    return TracedRule(targets, heads, dict(sorted(skipped.items())))


def _heads(
    graph: fx.Graph, names: dict[str, str], operations: dict[str, nn.Module]
) -> tuple[str, ...]:
    pending = [node for node in graph.nodes if node.op == "output"]
    seen: set[fx.Node] = set(pending)
    heads: dict[str, None] = {}
    while pending:
        for source in pending.pop().all_input_nodes:
            if source in seen:
                continue
            seen.add(source)
            name = names[str(source.target)] if source.op == "call_module" else ""
            if source.op != "call_module" or name not in operations:
                pending.append(source)
            elif not isinstance(operations[name], NORMS):
                heads[name] = None
    return tuple(heads)
