"""Parameter sharing by name: STABLE-RPS, the schemes it grew from, and controls.

The comparison of Desai & Shrivastava, *In defense of parameter sharing for model-compression*
(ICLR 2024): mapping and gradient scaling, together and one at a time.
"""

from collections.abc import Sequence
from typing import Any

from torch import nn

from overparam.compress.shared_model import SharedModel
from overparam.compress.sharing import memory_size, share_parameters
from overparam.compress.weights import count_weights

SIDE = 32
"""Of the square tiles that ROAST lays out whole, where the memory is large enough."""

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


def share_members(
    method: str,
    nets: Sequence[nn.Module],
    compression: float,
    *,
    seeds: Sequence[int],
    init_scale: float = 0.04,
    tile: int | tuple[int, int] | None = None,
) -> list[SharedModel]:
    """Let the weights of freshly initialised networks share m = int(n / compression) numbers each.

    Args:
        method: a name of :data:`SHARING`.
        nets: the E members, at their initialisation; not changed.
        compression: n / m >= 1, over the weights of Linear, Conv and Embedding layers.
        seeds: one per member, of its shared numbers, map and signs.
        init_scale: half-width of the distribution of shared numbers.
        tile: of ROAST, see :func:`share_parameters`, by default :func:`roast_tile`; the other
            mappings have none.

    Returns:
        A shared model per member; the shared numbers of ``rps_frozen`` require no gradient.

    Raises:
        ValueError: unknown method, not one seed per member, and what :func:`share_parameters`
            refuses.

    Example:
        >>> nets = [nn.Linear(10, 10), nn.Linear(10, 10)]
        >>> [net.shared.numel() for net in share_members("hashed", nets, 4, seeds=(0, 1))]
        [25, 25]
    """
    if method not in SHARING:
        raise ValueError(f"method is {method!r}; allowed {', '.join(SHARING)}")
    if len(seeds) != len(nets):
        raise ValueError(f"seeds has {len(seeds)} entries for {len(nets)} members")
    options = {**SHARING[method], "init_scale": init_scale}
    if tile is None and options["mapping"] == "roast" and nets:
        tile = roast_tile(memory_size(count_weights(nets[0]), compression))
    models = [
        share_parameters(net, compression, seed=seed, tile=tile, **options)
        for net, seed in zip(nets, seeds, strict=True)
    ]
    for model in models:
        model.shared.requires_grad_(method != "rps_frozen")
    return models


def roast_tile(memory: int) -> tuple[int, int]:
    """Rows and columns of ROAST's tiles in a small memory: 32 x 32, halved until a tile fits.

    Example:
        >>> [roast_tile(memory) for memory in (1024, 1023, 3)]
        [(32, 32), (16, 16), (1, 1)]
    """
    side = SIDE
    while side > 1 and side**2 > memory:
        side //= 2
    return side, side
