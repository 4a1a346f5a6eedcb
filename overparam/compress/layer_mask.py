"""Masks that keep the same fraction of every layer."""

from overparam.compress.masks import Masks, Scores, global_mask


def layer_mask(scores: Scores, *, count: int) -> Masks:
    """Keep the highest scores of each tensor, the same fraction of every one.

    The counts of the tensors are count * n_l / n, rounded by largest remainders so that their sum
    is exact, and at least 1.

    Args:
        scores: tensor of scores per weight name; higher is kept.
        count: weights kept in all, from the number of tensors to n.

    Returns:
        A boolean mask per name, True for kept; equal scores are kept in the order of their index.

    Raises:
        ValueError: ``count`` out of range, no scores, a NaN score.

    Example:
        >>> import torch
        >>> masks = layer_mask({"a": torch.tensor([3.0, 1, 2, 4]), "b": torch.ones(2)}, count=3)
        >>> masks["a"].tolist(), masks["b"].tolist()
        ([True, False, False, True], [True, False])
    """
    sizes = {name: score.numel() for name, score in scores.items()}
    if not len(sizes) <= count <= sum(sizes.values()):
        raise ValueError(
            f"count is {count}; allowed {len(sizes)} (one of each tensor)..{sum(sizes.values())}"
        )
    masks: Masks = {}
    for name, kept in _counts(sizes, count).items():
        masks |= global_mask({name: scores[name]}, count=kept)
    return masks


def _counts(sizes: dict[str, int], count: int) -> dict[str, int]:
    n = sum(sizes.values())
    counts = {name: max(1, count * size // n) for name, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda name: -(count * sizes[name] % n))
    for name in by_remainder:
        if sum(counts.values()) < count and counts[name] < sizes[name]:
            counts[name] += 1
    # The floor of one per tensor can take more than the fractions leave.
    while sum(counts.values()) > count:
        counts[max(counts, key=lambda name: counts[name])] -= 1
    return counts
