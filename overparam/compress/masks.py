"""Global pruning masks with exact counts, and the models that carry them."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from overparam.compress.masked_weight import mask_weight
from overparam.compress.weights import compressible_weights

Scores = Mapping[str, Tensor]
Masks = dict[str, Tensor]


def kept_count(n: int, keep: float) -> int:
    """Weights kept of n at a fraction, n - round((1 - keep) n), as ``torch.nn.utils.prune`` counts.

    Raises:
        ValueError: ``keep`` outside (0, 1], or so small that nothing is left.
    """
    if not 0 < keep <= 1:
        raise ValueError(f"keep is {keep}; allowed 0 < keep <= 1")
    count = n - round((1 - keep) * n)
    if count < 1:
        raise ValueError(
            f"keep is {keep}, which leaves none of {n} weights; allowed keep >= {1 / n:.3g}"
        )
    return count


@dataclass(frozen=True)
class Ranking:
    """All weights in the order of their scores, sorted once and reusable for every number kept.

    Attributes:
        rank: place of each entry, 0 for the highest score, (n,) or (E, n) for stacked scores.
        shapes: shape of each tensor (without the leading E).
    """

    rank: Tensor
    shapes: dict[str, tuple[int, ...]]

    @property
    def n(self) -> int:
        """Number of ranked weights (of one member)."""
        return self.rank.shape[-1]

    def masks(self, keep: float | None = None, *, count: int | None = None) -> Masks:
        """Masks of the best entries; arguments, errors as :func:`global_mask`."""
        return split_masks(self.rank < resolve_count(self.n, keep, count), self.shapes)


def ranking(scores: Scores, *, stacked: bool = False) -> Ranking:
    """Sort all scores together once, highest first, equal ones by index.

    Args:
        scores: tensor of scores per weight name.
        stacked: the scores have a leading member axis E; each member is ranked on its own.

    Raises:
        ValueError: no scores, a NaN (the tensor is named), or different E.
    """
    flat, shapes = join_scores(scores, stacked)
    order = flat.argsort(dim=-1, descending=True, stable=True)
    places = torch.arange(flat.shape[-1], device=flat.device).expand_as(order)
    return Ranking(torch.empty_like(order).scatter_(-1, order, places), shapes)


def global_mask(
    scores: Scores, keep: float | None = None, *, count: int | None = None, stacked: bool = False
) -> Masks:
    """Keep the highest scores over all tensors together, exactly as many as asked.

    Ties at the threshold are kept in the order of their index, so the count is exact even when all
    scores are equal. Linear time; for many counts on the same scores use :func:`ranking`.

    Args:
        scores: tensor of scores per weight name; higher is kept.
        keep: fraction kept in (0, 1], rounded as ``torch.nn.utils.prune`` does; or
        count: the number kept in 1..n (exactly one of the two).
        stacked: the scores have a leading member axis E; each member is cut on its own.

    Returns:
        A boolean mask per name, True for kept.

    Raises:
        ValueError: ``keep`` or ``count`` out of range, both or none given, no scores, a NaN score.

    Example:
        >>> global_mask({"w": torch.tensor([3.0, 1.0, 1.0, 2.0])}, count=3)["w"].tolist()
        [True, True, False, True]
    """
    flat, shapes = join_scores(scores, stacked)
    return split_masks(top_entries(flat, resolve_count(flat.shape[-1], keep, count)), shapes)


def top_entries(scores: Tensor, k: int) -> Tensor:
    """Mask of the k highest entries of each row (..., n), equal ones by index; linear time."""
    n = scores.shape[-1]
    threshold = scores.kthvalue(n - k + 1, dim=-1, keepdim=True).values
    reached = scores >= threshold
    surplus = reached.sum(-1, keepdim=True) - k
    if not bool(surplus.any()):
        return reached
    tied = scores == threshold
    return reached & ~(tied & (tied.cumsum(-1) > tied.sum(-1, keepdim=True) - surplus))


def apply_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """A copy of ``model`` whose masked weights are zero for good.

    The masks live in the model (:class:`MaskedWeight`): they survive fine-tuning, ``deepcopy`` and
    ``state_dict``; ``materialise`` makes them plain zeros. Masks that the model carries already are
    intersected with the new ones: a pruned weight never comes back.

    Args:
        model: any module; not changed.
        masks: boolean masks by weight name, as from :func:`global_mask`; tensors without one stay
            free.

    Raises:
        ValueError: a name that is no compressible weight of the model, or a wrong shape.
        TypeError: a mask that is not boolean.
    """
    slots = {slot.name: slot for slot in compressible_weights(model)}
    for name, mask in masks.items():
        if name not in slots:
            raise ValueError(f"masks name {name!r}, which is no weight; allowed {list(slots)}")
        if mask.dtype != torch.bool:
            raise TypeError(f"mask {name!r} has dtype {mask.dtype}; allowed torch.bool")
        if tuple(mask.shape) != slots[name].shape:
            raise ValueError(
                f"mask {name!r} has shape {tuple(mask.shape)}; expected {slots[name].shape}"
            )
    masked = deepcopy(model)
    parameters = dict(masked.named_parameters())
    for name, mask in masks.items():
        own = mask.detach().to(parameters[name].device, copy=True)
        for layer in slots[name].layers:
            mask_weight(masked.get_submodule(layer), own)
    return masked


def masked_members(models: Sequence[nn.Module], masks: Mapping[str, Tensor]) -> list[nn.Module]:
    """Each model under its own masks, ready to be stacked in an ``Ensemble``.

    Args:
        models: E dense models of one architecture; not changed.
        masks: boolean masks with a leading axis E, as from ``global_mask(..., stacked=True)``.

    Raises:
        ValueError: masks of another number of members, and as :func:`apply_masks`.
    """
    for name, mask in masks.items():
        if len(mask) != len(models):
            raise ValueError(f"mask {name!r} has {len(mask)} members, models has {len(models)}")
    return [
        apply_masks(model, {name: mask[e] for name, mask in masks.items()})
        for e, model in enumerate(models)
    ]


def masks_of(model: nn.Module) -> Masks:
    """The masks a model carries, by weight name (no copies); empty for a dense model."""
    buffers = dict(model.named_buffers())
    return {
        slot.name: buffers[slot.mask]
        for slot in compressible_weights(model)
        if slot.mask in buffers
    }


def dead_layers(masks: Mapping[str, Tensor], *, stacked: bool = False) -> Tensor:
    """How many tensors have no weight left: a 0-d int64 tensor, (E,) for stacked masks."""
    gone = [~mask.flatten(1 if stacked else 0).any(-1) for mask in masks.values()]
    return torch.stack(gone).sum(0)


def resolve_count(n: int, keep: float | None, count: int | None) -> int:
    """The number kept of n, given either as a fraction or as a count; else ``ValueError``."""
    if (keep is None) == (count is None):
        raise ValueError(f"give exactly one of keep and count, got keep={keep}, count={count}")
    if keep is not None:
        return kept_count(n, keep)
    assert count is not None
    if not 1 <= count <= n:
        raise ValueError(f"count is {count}; allowed 1..{n}")
    return count


def join_scores(scores: Scores, stacked: bool) -> tuple[Tensor, dict[str, tuple[int, ...]]]:
    """All scores as one vector (n,), or (E, n) when stacked, and the shapes to split it by."""
    if not scores:
        raise ValueError("scores is empty; a score tensor per weight is needed")
    for name, score in scores.items():
        # The maximum of a tensor with a NaN is NaN.
        if score.numel() and bool(score.amax().isnan()):
            raise ValueError(f"scores of {name!r} contain NaN")
    flat = torch.cat([s.flatten(1) if stacked else s.flatten() for s in scores.values()], dim=-1)
    return flat, {name: tuple(s.shape[stacked:]) for name, s in scores.items()}


def split_masks(mask: Tensor, shapes: Mapping[str, Sequence[int]]) -> Masks:
    """A joint mask (n,) or (E, n) back as one mask per name."""
    parts = torch.split(mask, [prod(shape) for shape in shapes.values()], dim=-1)
    return {
        name: part.reshape(*mask.shape[:-1], *shape)
        for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }
