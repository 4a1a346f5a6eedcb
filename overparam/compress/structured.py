"""Structured pruning to a budget of parameters: whole channels and attention heads go."""

import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from overparam.compress.attention_heads import attention_cores
from overparam.compress.channel_budget import NEAR, units_for_budget
from overparam.compress.channel_groups import GroupedNetwork, grouped_network
from overparam.compress.channel_importance import (
    Importance,
    ImportanceName,
    group_norm,
    group_taylor,
    put_gradients,
    random_importance,
)
from overparam.compress.channel_removal import (
    remove_channels,
    zero_channels,
)
from overparam.compress.coupled_channels import ChannelGroup, LeftOut
from overparam.compress.dependency_graph import Candidate
from overparam.compress.feed_forward_groups import inner_groups
from overparam.compress.layer_axes import Unfollowable
from overparam.compress.model_outputs import compare_outputs, outputs_of
from overparam.compress.registry import CannotTreat, LeftAlone, parameter_budget
from overparam.datasets import Batches, Inputs
from overparam.training import Task

EXAMPLES = 4
"""Samples that the graph is traced and the groups are tried out with."""


@dataclass(frozen=True)
class StructuredPruning:
    """A pruned network and what was taken out of it.

    Attributes:
        model: the smaller network.
        removed: units that went, per group.
        fraction: share of the ranked units that were to go.
        dense_parameters: before.
        parameters: after.
        left_out: what could not be pruned.
    """

    model: nn.Module
    removed: dict[ChannelGroup, tuple[int, ...]]
    fraction: float
    dense_parameters: int
    parameters: int
    left_out: tuple[LeftOut, ...]

    @property
    def ratio(self) -> float:
        """Dense parameters / kept parameters."""
        return self.dense_parameters / self.parameters


def prune_structured(
    model: nn.Module,
    example_inputs: Inputs,
    *,
    ratio: float,
    importance: ImportanceName | Importance = "norm",
    task: Task | None = None,
    data: Batches | None = None,
    seed: int = 0,
    keep: Collection[str] = (),
    round_to: int = 1,
    only: Literal["all", "heads"] = "all",
) -> StructuredPruning:
    """Structured pruning with one ranking over all groups (DepGraph, Fang et al., CVPR 2023).

    A fraction f of all channels and the same fraction of all heads go, the least important first;
    f is the smallest with which at most round(P / ratio) parameters stay. Every group keeps a unit.
    The model's inputs and outputs keep their widths. Heads are removed whole where the code lets
    them go alone; otherwise (``nn.MultiheadAttention``, heads cut from the input's width) all of
    them get narrower with the width between the blocks.

    Args:
        model: is not changed; ties, ``requires_grad`` and modes are kept.
        example_inputs: a batch of a few samples.
        ratio: dense parameters / parameters kept, > 1.
        importance: ``norm``, ``taylor`` (needs ``data`` and ``task``), ``random`` (by ``seed``), or
            any of torch-pruning's, called with a group.
        task: how a batch reaches the model.
        data: training samples.
        seed: of random importance.
        keep: names of modules whose outputs stay.
        round_to: groups keep a multiple of this many units (or all, if they have fewer).
        only: ``heads``: attention heads and the inner channels of the layers between them.

    Raises:
        ValueError: ``ratio``, ``round_to``, ``importance`` or ``keep`` not as above.
        CannotTreat: nothing can be pruned, or not that far; the message says why.

    Warns:
        LeftAlone: layers that stay as they are, and why; a budget that is missed by over 5 %.
    """
    budget = parameter_budget(model, ratio)
    if round_to < 1:
        raise ValueError(f"round_to is {round_to}; allowed >= 1")
    score = _importance(importance, task, data, seed)
    try:
        network = grouped_network(model, example_inputs, task=task, keep=keep)
    except Unfollowable as error:
        raise CannotTreat(str(error)) from error
    candidates, left_out = list(network.candidates), list(network.left_out)
    if only == "heads":
        candidates, left_out = _heads_and_inner(network)
    if importance == "taylor" and task is not None and data is not None:
        put_gradients(network.traced.model, data, task)
    scores: dict[ChannelGroup, Tensor] = {}
    for candidate in candidates:
        values = _unit_scores(candidate, score)
        if isinstance(values, str):
            left_out.append(LeftOut(candidate.group.writers, values))
        else:
            scores[candidate.group] = values
    dense = sum(parameter.numel() for parameter in model.parameters())
    if not scores:
        nothing = "no attention head or feed-forward channel" if only == "heads" else "no channel"
        raise CannotTreat("; ".join([f"{nothing} can be pruned", *map(str, left_out)]))
    removed, fraction = units_for_budget(
        model, scores, budget, round_to=round_to, left_out=left_out
    )
    small = _removed(model, network, removed, example_inputs, task)
    for left in left_out:
        warnings.warn(str(left), LeftAlone, stacklevel=3)
    parameters = sum(parameter.numel() for parameter in small.parameters())
    if parameters < (1 - NEAR) * dense / ratio:
        warnings.warn(
            f"channels go in whole units: {parameters:,} of {dense:,} parameters stay, ratio "
            f"{dense / parameters:.2f} where {ratio:g} was asked for",
            LeftAlone,
            stacklevel=3,
        )
    return StructuredPruning(small, removed, fraction, dense, parameters, tuple(left_out))


def _removed(
    model: nn.Module,
    network: GroupedNetwork,
    removed: dict[ChannelGroup, tuple[int, ...]],
    inputs: Inputs,
    task: Task | None,
) -> nn.Module:
    """The smaller model, if all groups together keep what each alone kept."""
    reason = network.trial.difference(removed)
    if not reason:
        traced = network.traced.model
        small = remove_channels(model, removed)
        pruned = outputs_of(remove_channels(traced, removed), inputs, task)
        reason = compare_outputs(pruned, outputs_of(zero_channels(traced, removed), inputs, task))
        if not reason:
            return small
    raise CannotTreat(f"the groups can't be pruned together: {reason}")


def _importance(
    importance: ImportanceName | Importance, task: Task | None, data: Batches | None, seed: int
) -> Importance:
    if importance == "taylor" and (task is None or data is None):
        raise ValueError("importance 'taylor' needs data and task")
    named: dict[object, Callable[[], Importance]] = {
        "norm": group_norm,
        "taylor": group_taylor,
        "random": lambda: random_importance(seed),
    }
    if callable(importance):
        return importance
    if importance not in named:
        raise ValueError(f"importance is {importance!r}; allowed: norm, taylor, random, a function")
    return named[importance]()


def _unit_scores(candidate: Candidate, score: Importance) -> Tensor | str:
    per_unit: list[list[Tensor]] = [[] for _ in range(candidate.group.units)]
    for scored, roots in candidate.scored:
        try:
            values = score(scored)
        except (IndexError, RuntimeError) as error:
            return f"its importance can't be computed ({type(error).__name__}: {error})"
        if values is None:
            return "it has no layer that importance is computed from"
        # A group whose scores are all zero was divided by their mean.
        values = torch.nan_to_num(values.detach().float().cpu(), nan=0.0)
        for parts, channels in zip(per_unit, roots, strict=True):
            if channels:
                parts.append(values[list(channels)].mean())
    return torch.stack([torch.stack(parts).mean() for parts in per_unit])


def _heads_and_inner(network: GroupedNetwork) -> tuple[list[Candidate], list[LeftOut]]:
    model = network.traced.model
    names = {module: name for name, module in model.named_modules()}
    heads = [c for c in network.candidates if c.group.kind == "heads"]
    inner = inner_groups(network.traced, network.candidates, network.streams)
    feeding = {names[f] for fs in attention_cores(network.traced).values() for f in fs}
    left = [entry for entry in network.left_out if feeding & set(entry.layers)]
    for module, name in names.items():
        if isinstance(module, nn.MultiheadAttention):
            reason = "its heads' widths add up to the width that it reads, so none can go alone"
            left.append(LeftOut((name,), reason))
    return [*heads, *inner], left
