"""Layer-wise subspaces: every layer has its own share of the d coordinates."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from overparam.compress.subspace.projections import Projection


def share_dimensions(dim: int, layer_sizes: Sequence[int]) -> list[int]:
    """Split d over layers in proportion to their sizes, at least one and at most the size each.

    Every layer gets 1; the rest goes by largest remainder of ``(d - m) D_l / D``, what overflows a
    layer to the layers with most room.

    Raises:
        ValueError: ``dim`` outside ``[number of layers, sum of sizes]``.

    Example:
        >>> share_dimensions(10, [600, 300, 100])
        [5, 3, 2]
    """
    sizes = np.array(layer_sizes, dtype=np.int64)
    if not len(sizes) <= dim <= sizes.sum():
        raise ValueError(
            f"dim must lie in [{len(sizes)}, {sizes.sum()}] (layers, parameters) for a "
            f"layer-wise subspace, got {dim}"
        )
    wanted = (dim - len(sizes)) * sizes / sizes.sum()
    shares = np.minimum(1 + np.floor(wanted).astype(np.int64), sizes)
    order = np.argsort(-(wanted - np.floor(wanted)), kind="stable")
    for layer in order[: dim - shares.sum()]:
        shares[layer] = min(shares[layer] + 1, sizes[layer])
    while (missing := dim - shares.sum()) > 0:
        room = sizes - shares
        roomiest = int(np.argmax(room))
        shares[roomiest] += min(missing, room[roomiest])
    return [int(share) for share in shares]


class LayerwiseProjection(Projection):
    """Block-diagonal P: an independent projection of each layer's share of v onto that layer.

    Args:
        layer_sizes: Parameters D_l of each layer, in the order of theta.
        dim: d, split by :func:`share_dimensions`.
        make: ``make(layer, size, share)`` builds the projection of one layer.

    Raises:
        ValueError: ``dim`` outside ``[number of layers, D]``.
    """

    def __init__(
        self,
        layer_sizes: Sequence[int],
        dim: int,
        *,
        make: Callable[[int, int, int], Projection],
    ) -> None:
        self.shares = share_dimensions(dim, layer_sizes)
        super().__init__(sum(layer_sizes), dim)
        self.layer_sizes = list(layer_sizes)
        self.blocks = nn.ModuleList(
            make(layer, size, share)
            for layer, (size, share) in enumerate(zip(layer_sizes, self.shares, strict=True))
        )

    def matvec(self, v: Tensor) -> Tensor:
        parts = torch.split(v, self.shares, dim=-1)
        return torch.cat(
            [b.matvec(x) for b, x in zip(self._projections(), parts, strict=True)], dim=-1
        )

    def rmatvec(self, theta: Tensor) -> Tensor:
        parts = torch.split(theta, self.layer_sizes, dim=-1)
        return torch.cat(
            [b.rmatvec(x) for b, x in zip(self._projections(), parts, strict=True)], dim=-1
        )

    def _projections(self) -> list[Projection]:
        return [block for block in self.blocks if isinstance(block, Projection)]
