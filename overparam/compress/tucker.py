r"""Tucker-2 convolutions: 1 x 1, a k x k core between fewer channels, 1 x 1.

Kim et al., *Compression of deep convolutional neural networks for fast and low power mobile
applications* (ICLR 2016): :math:`W \approx G \times_{out} U \times_{in} V` with orthonormal U
(out, R) and V (in, S) and a core G (R, S, k, k). The factors are those of the higher-order
orthogonal iteration (De Lathauwer, De Moor & Vandewalle, SIAM J. Matrix Anal. Appl. 2000), which
starts from the truncated higher-order SVD. The squared error is
:math:`\|W\|^2 - \|G\|^2`. The groups of a grouped convolution are factored one by one, with equal
ranks.
"""

import numpy as np
import torch
from torch import Tensor, nn

from overparam.compress.factorise import Call, Factorisation, factorise, plain_layer, untreatable
from overparam.compress.low_rank import CONVOLUTIONS, geometry, plain_kind
from overparam.compress.rank_budget import RankChoices

SWEEPS = 50
TOLERANCE = 1e-7


def tucker_model(
    model: nn.Module,
    *,
    parameters: int | None = None,
    energy: float | None = None,
    call: Call | None = None,
) -> nn.Module:
    """A copy of ``model`` whose convolutions are chains of three by Tucker-2.

    Ranks are chosen by the energy that the truncated higher-order SVD keeps; the iteration then
    keeps at least as much.

    Args:
        model: any module; not changed.
        parameters: of the whole result, at most: ranks of all layers are chosen together
            (:func:`choose_ranks`); or
        energy: the share of its squared norm that every convolution keeps, in (0, 1].
        call: runs a model on an example, to find layers that the model does more with than call
            them.

    Raises:
        ValueError: not exactly one of ``parameters`` and ``energy``, or one out of range.
        CannotTreat: no convolution to factor, or the smallest ranks are above the budget.

    Warns:
        LeftAlone: names layers that stay dense, and why.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3))
        >>> small = tucker_model(net, parameters=1600)
        >>> [type(part).__name__ for part in small[0]]
        ['Conv2d', 'Conv2d', 'Conv2d']
    """
    return factorise(model, tucker_ways, parameters=parameters, energy=energy, call=call)


def tucker_ways(layer: nn.Module) -> Factorisation | str | None:
    """How a convolution can be factored in three, why not, or ``None`` for other layers."""
    if not isinstance(layer, CONVOLUTIONS):
        return None
    if reason := untreatable(layer, CONVOLUTIONS):
        return reason
    if np.prod(layer.kernel_size) == 1:
        return "its kernel is a point, a matrix"
    weight = (
        layer.weight.detach().double().reshape(layer.groups, -1, *layer.weight.shape[1:]).flatten(3)
    )
    groups, out, into, points = weight.shape
    r, s = np.meshgrid(np.arange(1, out + 1), np.arange(1, into + 1), indexing="ij")
    # Factors of in (S), core (R S k k) and out (R), per group.
    costs = groups * (into * s + r * s * points + out * r)
    saves = costs < layer.weight.numel()
    pairs = np.stack([r[saves], s[saves]], axis=1)

    def build(choice: int) -> nn.Sequential:
        rank_out, rank_in = (int(rank) for rank in pairs[choice])
        return _chain(layer, *hooi(weight, rank_out, rank_in))

    return Factorisation(RankChoices(costs[saves], _kept(weight)[saves]), build)


def hooi(weight: Tensor, rank_out: int, rank_in: int) -> tuple[Tensor, Tensor, Tensor]:
    """Tucker-2 factors of a stack of kernels by higher-order orthogonal iteration.

    Args:
        weight: (G, out, in, k), float64.
        rank_out: R in 1..out.
        rank_in: S in 1..in.

    Returns:
        U (G, out, R) and V (G, in, S), orthonormal, and the core (G, R, S, k).

    Raises:
        ValueError: a rank out of range.
    """
    for name, rank, most in (("out", rank_out, weight.shape[1]), ("in", rank_in, weight.shape[2])):
        if not 1 <= rank <= most:
            raise ValueError(f"rank_{name} is {rank}; allowed 1..{most}")
    v = _leading(weight.transpose(1, 2), rank_in)
    kept = -1.0
    for _ in range(SWEEPS):
        u = _leading(torch.einsum("goik,gis->gosk", weight, v), rank_out)
        v = _leading(torch.einsum("goik,gor->girk", weight, u), rank_in)
        core = torch.einsum("goik,gor,gis->grsk", weight, u, v)
        before, kept = kept, float(core.square().sum())
        if kept - before <= TOLERANCE * kept:
            break
    return u, v, core


def _leading(tensor: Tensor, rank: int) -> Tensor:
    """Leading left singular vectors (G, n, rank) of the unfoldings (G, n, rest)."""
    unfolded = tensor.flatten(2)
    # Eigenvectors of the small Gram matrix: n is far below the rest, and double precision leaves
    # the leading ones exact enough.
    return torch.linalg.eigh(unfolded @ unfolded.mT).eigenvectors.flip(2)[:, :, :rank]


def _kept(weight: Tensor) -> np.ndarray:
    """Share of the squared norm that the truncated higher-order SVD keeps at ranks (R, S)."""
    _, out, into, _ = weight.shape
    u, v = _leading(weight, out), _leading(weight.transpose(1, 2), into)
    core = torch.einsum("goik,gor,gis->grsk", weight, u, v).square().sum((0, 3))
    total = float(core.sum())
    if total == 0:
        return np.ones((out, into))
    return (core.cumsum(0).cumsum(1) / total).clamp(max=1).cpu().numpy()


def _chain(
    layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, u: Tensor, v: Tensor, core: Tensor
) -> nn.Sequential:
    kind, groups, ones = plain_kind(layer), layer.groups, tuple(1 for _ in layer.kernel_size)
    narrow, wide = groups * v.shape[2], groups * u.shape[2]
    dtype = layer.weight.dtype
    inlet = v.transpose(1, 2).flatten(0, 1).reshape(narrow, -1, *ones)
    middle = core.flatten(0, 1).reshape(wide, -1, *layer.kernel_size)
    outlet = u.flatten(0, 1).reshape(layer.out_channels, -1, *ones)
    return nn.Sequential(
        plain_layer(
            kind,
            layer.in_channels,
            narrow,
            weight=inlet.to(dtype),
            bias=None,
            kernel_size=1,
            groups=groups,
        ),
        plain_layer(
            kind,
            narrow,
            wide,
            weight=middle.to(dtype),
            bias=None,
            kernel_size=layer.kernel_size,
            **geometry(layer),
        ),
        plain_layer(
            kind,
            wide,
            layer.out_channels,
            weight=outlet.to(dtype),
            bias=layer.bias,
            kernel_size=1,
            groups=groups,
        ),
    )
