"""Ways to start a small network, all with the same number of trainable weights.

The comparison of Desai & Shrivastava, *In defense of parameter sharing for model-compression*
(ICLR 2024): with m weights to store, share them, prune to them, or build a smaller network.
"""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from overparam.compress.grad_scale import GradientScaling
from overparam.compress.index_bits import sparse_bits
from overparam.compress.masks import Masks, global_mask, masked_members
from overparam.compress.scores import (
    score_grasp,
    score_mag,
    score_random,
    score_snip,
    synflow_masks,
)
from overparam.compress.shared_model import SharedModel
from overparam.compress.sharing import memory_size
from overparam.compress.sharing_methods import SHARING, share_members
from overparam.compress.smaller import smaller_width
from overparam.compress.weights import count_weights
from overparam.models import seeded
from overparam.training import Callback, Ensemble

VALUE_BITS = 32.0

PRUNING = ("mag", "snip", "grasp", "synflow", "random")
"""Pruning at initialisation; ``random`` is the negative control."""

SPARSE = (*PRUNING, "ltr")
"""Methods that keep some of the weights, and so have to store which ones."""


def at_equal_memory(
    method: str,
    dense: Sequence[nn.Module],
    compression: float,
    *,
    x: Tensor,
    y: Tensor,
    seeds: Sequence[int],
    narrower: Callable[[int], nn.Module],
    init_scale: float = 0.04,
) -> list[nn.Module]:
    """Compress freshly initialised networks to m = int(n / compression) weights each.

    Args:
        method: a name of :data:`SHARING` or :data:`PRUNING`, or ``small`` for a narrower network,
            or ``dense`` for the network as it is.
        dense: the E members, at their initialisation; not changed.
        compression: n / m >= 1, over the weights of Linear, Conv and Embedding layers.
        x: a batch for data-dependent scores, (E, B, ...).
        y: its labels, (E, B).
        seeds: one per member.
        narrower: makes the architecture at a given width, for ``small``.
        init_scale: half-width of the distribution of shared numbers.

    Returns:
        E models to be trained by :func:`train_compressed`, or by :func:`overparam.training.fit`
        with :func:`method_callbacks`.

    Raises:
        ValueError: unknown method, a compression < 1 or one that leaves no weight (or no network).

    Example:
        >>> import torch
        >>> nets = [nn.Linear(10, 10), nn.Linear(10, 10)]
        >>> x, y = torch.zeros(2, 4, 10), torch.zeros(2, 4, dtype=torch.long)
        >>> small = at_equal_memory("mag", nets, 4, x=x, y=y, seeds=(0, 1), narrower=None)
        >>> [int(net.weight.count_nonzero()) for net in small]
        [25, 25]
    """
    if method == "dense":
        return list(dense)
    if not compression >= 1:
        raise ValueError(f"compression is {compression}; allowed >= 1")
    if method in SHARING:
        return [*share_members(method, dense, compression, seeds=seeds, init_scale=init_scale)]
    count = memory_size(count_weights(dense[0]), compression)
    if method == "small":
        width = smaller_width(narrower, count)
        return [seeded(partial(narrower, width), seed) for seed in seeds]
    if method not in PRUNING:
        names = ", ".join(["dense", *SHARING, *PRUNING, "small"])
        raise ValueError(f"method is {method!r}; allowed {names}")
    return masked_members(dense, _masks(method, Ensemble(dense), count, x, y, seeds))


def method_callbacks(models: Sequence[nn.Module]) -> list[Callback]:
    """What training needs beside the models: gradient scaling where they share parameters."""
    first = models[0]
    scaled = isinstance(first, SharedModel) and first.grad_scale_mode != "none"
    return [GradientScaling()] if scaled else []


def method_bits(method: str, weights: int, memory: int) -> float:
    """Bits that hold ``memory`` float32 weights of a network of ``weights``: what memory costs.

    A sparse network stores the positions of its weights too (:func:`sparse_bits`); sharing follows
    from a seed, and a smaller network is dense.

    Args:
        method: as for :func:`at_equal_memory`, or ``ltr``.
        weights: n.
        memory: m <= n.

    Raises:
        ValueError: m outside 0..n of a sparse network.

    Example:
        >>> method_bits("rps_stable", 4, 2), round(method_bits("mag", 4, 2), 6)
        (64.0, 66.584963)
    """
    return sparse_bits(weights, memory) if method in SPARSE else VALUE_BITS * memory


def _masks(
    method: str, ensemble: Ensemble, count: int, x: Tensor, y: Tensor, seeds: Sequence[int]
) -> Masks:
    if method == "synflow":
        return synflow_masks(ensemble, x, count=count)
    scores = {
        "mag": lambda: score_mag(ensemble),
        "random": lambda: score_random(ensemble, seed=seeds),
        "snip": lambda: score_snip(ensemble, x, y),
        "grasp": lambda: score_grasp(ensemble, x, y),
    }
    return global_mask(scores[method](), count=count, stacked=True)
