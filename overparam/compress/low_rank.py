r"""Low-rank layers by the singular value decomposition.

A weight seen as a matrix W is replaced by the product of two factors, its best approximation of
rank r (Eckart & Young 1936): :math:`W \approx (U_r \Sigma_r^{1/2}) (\Sigma_r^{1/2} V_r^T)`; the
squared error is the sum of the discarded :math:`\sigma_i^2`. A convolution is a matrix in two ways:
(out) x (in k k), a k x k convolution to r channels and a 1 x 1 convolution (Zhang et al., TPAMI
2016), or (in k) x (out k), a k x 1 convolution and a 1 x k one (Jaderberg et al., BMVC 2014; Tai et
al., ICLR 2016). The groups of a grouped convolution are factored one by one, with equal ranks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from overparam.compress.factorise import Call, Factorisation, factorise, plain_layer, untreatable
from overparam.compress.rank_budget import RankChoices

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
FACTORED = (nn.Linear, nn.Embedding, *CONVOLUTIONS)

Build = Callable[[Tensor, Tensor], nn.Sequential]


def low_rank_model(
    model: nn.Module,
    *,
    parameters: int | None = None,
    energy: float | None = None,
    call: Call | None = None,
) -> nn.Module:
    """A copy of ``model`` whose linear, convolutional and embedding layers are of low rank.

    Each is an ``nn.Sequential`` of two plain layers, or stays dense where that is the better use of
    its parameters. Of the two ways to factor a two-dimensional kernel a layer gets the one that
    keeps more.

    Args:
        model: any module; not changed.
        parameters: of the whole result, at most: ranks of all layers are chosen together
            (:func:`choose_ranks`); or
        energy: the share of its squared norm that every layer keeps, in (0, 1].
        call: runs a model on an example, to find layers that the model does more with than call
            them (``nn.MultiheadAttention`` reads the weight of its ``out_proj``).

    Raises:
        ValueError: not exactly one of ``parameters`` and ``energy``, or one out of range.
        CannotTreat: no layer to factor, or the smallest ranks are above the budget.

    Warns:
        LeftAlone: names layers that stay dense, and why.

    Example:
        >>> net = nn.Sequential(nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 40))
        >>> small = low_rank_model(net, parameters=1000)
        >>> sum(p.numel() for p in small.parameters())
        960
    """
    return factorise(model, svd_ways, parameters=parameters, energy=energy, call=call)


def svd_ways(layer: nn.Module) -> Factorisation | str | None:
    """How a layer can be factored in two, why not, or ``None`` for layers of other kinds."""
    if not isinstance(layer, FACTORED):
        return None
    if reason := untreatable(layer, FACTORED):
        return reason
    if isinstance(layer, nn.Embedding) and (
        layer.max_norm is not None or layer.sparse or layer.scale_grad_by_freq
    ):
        return "its rows are renormalised, or get gradients of their own kind"
    shapes = matricisations(layer)
    size = layer.weight.numel()
    ranks = [(shape, rank) for shape in shapes for rank in shape.saving_ranks(size)]
    energies = [shape.energies()[: len(shape.saving_ranks(size))] for shape in shapes]

    def build(choice: int) -> nn.Sequential:
        shape, rank = ranks[choice]
        return shape.build(*shape.factors(rank))

    cost = np.array([shape.cost * rank for shape, rank in ranks], dtype=np.int64)
    return Factorisation(RankChoices(cost, np.concatenate(energies)), build)


@dataclass(frozen=True)
class Matricisation:
    """A weight as a stack of matrices (G, rows, columns), and the chain that two factors make."""

    matrices: Tensor
    build: Build

    @property
    def cost(self) -> int:
        """Parameters per rank."""
        groups, rows, columns = self.matrices.shape
        return groups * (rows + columns)

    def saving_ranks(self, size: int) -> range:
        """Ranks that need fewer parameters than the dense weight."""
        most = min(self.matrices.shape[1:])
        return range(1, min(most, (size - 1) // self.cost) + 1)

    def energies(self) -> np.ndarray:
        """Share of the squared norm that ranks 1, 2, ... keep."""
        return kept_shares(torch.linalg.svdvals(self.matrices.double()).square().sum(0))

    def factors(self, rank: int) -> tuple[Tensor, Tensor]:
        """The best factors (G, rows, r) and (G, r, columns), equally scaled."""
        u, s, vh = torch.linalg.svd(self.matrices.double(), full_matrices=False)
        root = s[:, :rank].sqrt()
        left, right = u[:, :, :rank] * root[:, None], root[:, :, None] * vh[:, :rank]
        return left.to(self.matrices.dtype), right.to(self.matrices.dtype)


def kept_shares(energies: Tensor) -> np.ndarray:
    """Cumulative shares of energies (k,) along the last axis; ones where all are zero."""
    total = float(energies.sum())
    if total == 0:
        return np.ones(len(energies))
    return (energies.cumsum(-1) / total).clamp(max=1).cpu().numpy()


def _linear(layer: nn.Linear, left: Tensor, right: Tensor) -> nn.Sequential:
    rank = left.shape[-1]
    return nn.Sequential(
        plain_layer(nn.Linear, layer.in_features, rank, weight=right[0], bias=None),
        plain_layer(nn.Linear, rank, layer.out_features, weight=left[0], bias=layer.bias),
    )


def _embedding(layer: nn.Embedding, left: Tensor, right: Tensor) -> nn.Sequential:
    rank = left.shape[-1]
    table = nn.Embedding(
        layer.num_embeddings, rank, layer.padding_idx, _weight=left[0].contiguous(), _freeze=False
    )
    # A row of zeros has coordinates of zero; the decomposition gives them up to rounding.
    if layer.padding_idx is not None and not layer.weight[layer.padding_idx].any():
        with torch.no_grad():
            table.weight[layer.padding_idx] = 0
    mix = plain_layer(
        nn.Linear, rank, layer.embedding_dim, weight=right[0].T.contiguous(), bias=None
    )
    return nn.Sequential(table, mix)


def matricisations(layer: nn.Module) -> list[Matricisation]:
    """The ways in which the weight of a layer of :data:`FACTORED` is a stack of matrices.

    A two-dimensional kernel has two, in the order of the module's text; all others have one.
    """
    if isinstance(layer, nn.Embedding):
        return [Matricisation(layer.weight.detach()[None], partial(_embedding, layer))]
    if isinstance(layer, nn.Linear):
        return [Matricisation(layer.weight.detach()[None], partial(_linear, layer))]
    assert isinstance(layer, CONVOLUTIONS)
    groups = layer.groups
    weight = layer.weight.detach().reshape(groups, -1, *layer.weight.shape[1:])
    found = [Matricisation(weight.flatten(2), partial(_channels, layer))]
    if isinstance(layer, nn.Conv2d) and min(layer.kernel_size) > 1:
        # (G, out, in, height, width) as (G, out width, in height)
        spatial = weight.permute(0, 1, 4, 2, 3).flatten(3).flatten(1, 2)
        found.append(Matricisation(spatial, partial(_separable, layer)))
    return found


def _channels(
    layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, left: Tensor, right: Tensor
) -> nn.Sequential:
    kind, middle = plain_kind(layer), layer.groups * left.shape[-1]
    kernel = right.flatten(0, 1).reshape(middle, -1, *layer.kernel_size)
    point = left.flatten(0, 1).reshape(layer.out_channels, -1, *(1 for _ in layer.kernel_size))
    return nn.Sequential(
        plain_layer(
            kind,
            layer.in_channels,
            middle,
            weight=kernel,
            bias=None,
            kernel_size=layer.kernel_size,
            **geometry(layer),
        ),
        plain_layer(
            kind,
            middle,
            layer.out_channels,
            weight=point,
            bias=layer.bias,
            kernel_size=1,
            groups=layer.groups,
        ),
    )


def _separable(layer: nn.Conv2d, left: Tensor, right: Tensor) -> nn.Sequential:
    (height, width), middle = layer.kernel_size, layer.groups * left.shape[-1]
    # left (G, out width, r), right (G, r, in height)
    down = right.flatten(0, 1).reshape(middle, -1, height, 1)
    along = (
        left.reshape(layer.groups, -1, width, left.shape[-1])
        .transpose(2, 3)
        .flatten(0, 1)
        .unsqueeze(2)
        .contiguous()
    )
    return nn.Sequential(
        plain_layer(
            nn.Conv2d,
            layer.in_channels,
            middle,
            weight=down,
            bias=None,
            kernel_size=(height, 1),
            **_axis(layer, 0),
        ),
        plain_layer(
            nn.Conv2d,
            middle,
            layer.out_channels,
            weight=along,
            bias=layer.bias,
            kernel_size=(1, width),
            **_axis(layer, 1),
        ),
    )


def plain_kind(layer: nn.Module) -> type[nn.Module]:
    """The plain class of a convolution, also of a masked one."""
    return next(kind for kind in CONVOLUTIONS if isinstance(layer, kind))


def geometry(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> dict[str, Any]:
    """Stride, padding, dilation, groups and padding mode of a convolution."""
    return {
        "stride": layer.stride,
        "padding": layer.padding,
        "dilation": layer.dilation,
        "groups": layer.groups,
        "padding_mode": layer.padding_mode,
    }


def _axis(layer: nn.Conv2d, axis: int) -> dict[str, Any]:
    """The geometry along one axis, none along the other."""

    def along(values: tuple[int, ...], neutral: int) -> tuple[int, ...]:
        return tuple(value if a == axis else neutral for a, value in enumerate(values))

    padding = layer.padding
    return {
        **geometry(layer),
        "stride": along(layer.stride, 1),
        "dilation": along(layer.dilation, 1),
        "padding": padding if isinstance(padding, str) else along(padding, 0),
    }
