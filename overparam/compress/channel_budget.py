"""Which units go so that a network meets a budget of parameters: one ranking over all groups."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from overparam.compress.channel_removal import parameters_left
from overparam.compress.coupled_channels import ChannelGroup, LeftOut
from overparam.compress.registry import CannotTreat

NEAR = 0.05
"""A budget missed by more than this share is missed."""
Units = dict[ChannelGroup, tuple[int, ...]]


def choose_units(
    scores: Sequence[Tensor], fraction: float, round_to: int = 1
) -> list[tuple[int, ...]]:
    """Units to remove from each group: those up to the threshold of one ranking over all.

    With n units in all, n - int(n (1 - fraction)) are under the threshold, ties included, as in
    torch-pruning's global pruning; but every group keeps a unit, or ``round_to`` of them.

    Example:
        >>> choose_units([torch.tensor([0.1, 0.9]), torch.tensor([0.2, 0.3])], 0.75)
        [(0,), (0,)]
    """
    ranked = torch.cat(list(scores))
    number = len(ranked) - int(len(ranked) * (1 - fraction))
    if number == 0:
        return [() for _ in scores]
    threshold = ranked.topk(number, largest=False).values[-1]
    chosen = []
    for values in scores:
        kept = int((values > threshold).sum())
        if kept < len(values):
            kept = max(kept - kept % round_to, min(round_to, len(values)))
        order = values.argsort(stable=True).tolist()
        chosen.append(tuple(sorted(order[: len(values) - kept])))
    return chosen


def units_for_budget(
    model: nn.Module,
    scores: dict[ChannelGroup, Tensor],
    budget: int,
    *,
    round_to: int = 1,
    left_out: Sequence[LeftOut] = (),
) -> tuple[Units, float]:
    """The least removal that leaves at most ``budget`` parameters, by bisection.

    The same share of all channels and of all heads goes, each ranked among themselves. Where the
    last unit holds so much that the budget is missed by over 5 %, units come back, the most
    important first, while they fit.

    Args:
        model: dense.
        scores: per group a score per unit.
        budget: parameters.
        round_to: see :func:`choose_units`; for channels.
        left_out: reasons to name when the budget can't be met.

    Returns:
        Units to remove per group, and the share of the ranked units that were to go.

    Raises:
        CannotTreat: with one unit in every group more parameters stay.
    """
    kinds = [[g for g in scores if g.kind == kind] for kind in ("channels", "heads")]
    most = max(sum(group.units for group in groups) for groups in kinds)

    def removal(step: int) -> Units:
        chosen: Units = {}
        for groups in filter(None, kinds):
            # Heads come in few: rounding them to a multiple would keep them all.
            rounding = round_to if groups[0].kind == "channels" else 1
            units = choose_units([scores[g] for g in groups], (step - 0.5) / most, rounding)
            chosen.update(zip(groups, units, strict=True))
        return {group: chosen[group] for group in scores if chosen[group]}

    def left(step: int) -> int:
        return parameters_left(model, removal(step))

    if left(most) > budget:
        reasons = "".join(f"; {reason}" for reason in left_out)
        raise CannotTreat(
            f"{left(most):,} parameters stay with one unit in every group, {budget:,} are "
            f"asked for{reasons}"
        )
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if left(middle) <= budget else (middle, high)
    removed = removal(high)
    if left(high) < (1 - NEAR) * budget:
        removed = _give_back(model, scores, removed, budget, round_to)
    return removed, (high - 0.5) / most


def _give_back(
    model: nn.Module,
    scores: dict[ChannelGroup, Tensor],
    removed: Units,
    budget: int,
    round_to: int,
) -> Units:
    # Per group the least important first, so that the last comes back first.
    lists = {
        group: sorted(units, key=scores[group].tolist().__getitem__)
        for group, units in removed.items()
    }
    order = [(float(scores[group][unit]), group) for group in lists for unit in lists[group]]
    for _, group in sorted(order, key=lambda entry: -entry[0]):
        step = round_to if group.kind == "channels" else 1
        fewer = {**lists, group: lists[group][:-step]}
        if len(lists[group]) >= step and parameters_left(model, fewer) <= budget:
            lists = fewer
    return {group: tuple(sorted(units)) for group, units in lists.items() if units}
