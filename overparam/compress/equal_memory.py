"""Ways to start a small network, all with the same number of trainable weights.

The comparison of Desai & Shrivastava, *In defense of parameter sharing for model-compression*
(ICLR 2024): with m weights to store, share them, prune to them, or build a smaller network.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from overparam.compress.grad_scale import GradientScaling
from overparam.compress.masks import Masks, apply_masks, global_mask
from overparam.compress.scores import (
    score_grasp,
    score_mag,
    score_random,
    score_snip,
    synflow_masks,
)
from overparam.compress.shared_model import SharedModel
from overparam.compress.sharing import memory_size, share_parameters
from overparam.compress.smaller import smaller_width
from overparam.compress.weights import compressible_weights
from overparam.models import seeded
from overparam.training import Callback, Ensemble

SHARING: dict[str, dict[str, Any]] = {
    "rps_stable": {"mapping": "randomfold", "grad_scale": "v1"},
    "roast": {"mapping": "roast", "grad_scale": "none"},
    "hashed": {"mapping": "hashed", "grad_scale": "none"},
    "roast_scaled": {"mapping": "roast", "grad_scale": "v1"},
    "hashed_scaled": {"mapping": "hashed", "grad_scale": "v1"},
    "rps_unscaled": {"mapping": "randomfold", "grad_scale": "none"},
    "rps_frozen": {"mapping": "randomfold", "grad_scale": "none"},
}
"""Parameter sharing: STABLE-RPS, the two it grew from, both repairs one at a time, and a control
whose shared numbers are not trained (biases alone are)."""

PRUNING = ("mag", "snip", "grasp", "synflow", "random")
"""Pruning at initialisation; ``random`` is the negative control."""


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
        E models to be trained by :func:`overparam.training.fit` with :func:`method_callbacks`.

    Raises:
        ValueError: unknown method, or a compression that leaves no weight (or no network).

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
    if method in SHARING:
        return [
            _share(net, method, compression, seed=seed, init_scale=init_scale)
            for net, seed in zip(dense, seeds, strict=True)
        ]
    count = memory_size(sum(slot.size for slot in compressible_weights(dense[0])), compression)
    if method == "small":
        width = smaller_width(narrower, count)
        return [seeded(partial(narrower, width), seed) for seed in seeds]
    if method not in PRUNING:
        names = ", ".join(["dense", *SHARING, *PRUNING, "small"])
        raise ValueError(f"method is {method!r}; allowed {names}")
    masks = _masks(method, Ensemble(dense), count, x, y, seeds)
    return [
        apply_masks(net, {name: mask[i] for name, mask in masks.items()})
        for i, net in enumerate(dense)
    ]


def method_callbacks(models: Sequence[nn.Module]) -> list[Callback]:
    """What training needs beside the models: gradient scaling where they share parameters."""
    first = models[0]
    scaled = isinstance(first, SharedModel) and first.grad_scale_mode != "none"
    return [GradientScaling()] if scaled else []


def _share(
    net: nn.Module, method: str, compression: float, *, seed: int, init_scale: float
) -> SharedModel:
    options = dict(SHARING[method])
    if options["mapping"] == "roast":
        options["tile"] = _tile(net, compression)
    model = share_parameters(net, compression, seed=seed, init_scale=init_scale, **options)
    model.shared.requires_grad_(method != "rps_frozen")
    return model


def _tile(net: nn.Module, compression: float) -> int:
    """ROAST's tile: 32 x 32, halved until it fits in the memory."""
    memory = memory_size(sum(slot.size for slot in compressible_weights(net)), compression)
    tile = 32
    while tile > 1 and tile**2 > memory:
        tile //= 2
    return tile


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
