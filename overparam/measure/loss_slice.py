"""Slices through the loss landscape along filter-normalised directions.

Reference: Li, Xu, Taylor, Studer and Goldstein, NeurIPS 2018, arXiv 1712.09913, Section 4.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from overparam.measure.hessian_eigenvalues import Data, ModelLoss, checked_data, evaluated

Direction = dict[str, Tensor]


@dataclass(frozen=True)
class LossSlice:
    """Losses along one direction or over a plane.

    Attributes:
        steps: (points,) multiples of the directions.
        losses: (points,), or (points, points) with the first direction along the first axis.
    """

    steps: NDArray[np.float64]
    losses: NDArray[np.float64]


def filter_normalised(model: nn.Module, seed: int) -> Direction:
    r"""A random direction whose filters are as long as the model's.

    :math:`d_{ij} \leftarrow d_{ij} \|\theta_{ij}\| / \|d_{ij}\|` for filter j of layer i (a row of
    a linear layer), from Gaussian d; zero for vectors (biases, BatchNorm), as in the paper. So the
    slices of nets with differently scaled weights compare.

    Returns:
        One tensor per parameter.

    Raises:
        ValueError: a negative seed.
    """
    if seed < 0:
        raise ValueError(f"seed={seed}; allowed >= 0")
    generator = torch.Generator().manual_seed(seed)
    direction = {}
    for name, parameter in model.named_parameters():
        weight = parameter.detach()
        if weight.ndim < 2:
            direction[name] = torch.zeros_like(weight)
            continue
        # Drawn on the CPU in float64: the same direction on every device.
        noise = torch.randn(weight.shape, generator=generator, dtype=torch.float64).to(weight)
        ratios = weight.flatten(1).norm(dim=1) / noise.flatten(1).norm(dim=1)
        direction[name] = noise * ratios.reshape(-1, *(1,) * (weight.ndim - 1))
    return direction


def loss_slice_1d(
    model: nn.Module,
    loss: ModelLoss,
    data: Data,
    *,
    span: float = 1.0,
    points: int = 41,
    seed: int = 0,
    direction: Mapping[str, Tensor] | None = None,
    subset: int | None = None,
) -> LossSlice:
    r"""Loss at :math:`\theta + \alpha d`, :math:`\alpha` from -span to span.

    Args:
        model: runs in eval mode and is left as it was.
        loss: ``loss(model(x), y)`` to a scalar.
        data: x (N, ...) and y (N, ...).
        span: largest alpha; 1 replaces a filter by one of its own length added.
        points: number of alphas, at least 2; odd numbers hit the minimum itself.
        seed: of the direction.
        direction: use this one instead, a tensor per parameter.
        subset: at most so many samples, the first ones.

    Raises:
        ValueError: span <= 0, points < 2, a direction that does not fit, a loss that is not finite.
    """
    steps = _steps(span, points)
    chosen = dict(direction) if direction is not None else filter_normalised(model, seed)
    losses = _losses(model, loss, data, [chosen], [(a,) for a in steps], subset)
    return LossSlice(steps, losses)


def loss_slice_2d(
    model: nn.Module,
    loss: ModelLoss,
    data: Data,
    *,
    span: float = 1.0,
    points: int = 21,
    seed: int = 0,
    directions: tuple[Mapping[str, Tensor], Mapping[str, Tensor]] | None = None,
    subset: int | None = None,
) -> LossSlice:
    r"""Loss at :math:`\theta + \alpha d_1 + \beta d_2`; arguments as for :func:`loss_slice_1d`.

    The second direction is drawn with ``seed`` + 1. (In thousands of dimensions two random ones
    are as good as orthogonal.)
    """
    steps = _steps(span, points)
    pair = directions or (filter_normalised(model, seed), filter_normalised(model, seed + 1))
    grid = [(a, b) for a in steps for b in steps]
    losses = _losses(model, loss, data, [dict(d) for d in pair], grid, subset)
    return LossSlice(steps, losses.reshape(points, points))


def _steps(span: float, points: int) -> NDArray[np.float64]:
    if not 0 < span < float("inf") or points < 2:
        raise ValueError(f"span={span}, points={points}; allowed: span > 0, points >= 2")
    return np.linspace(-span, span, points)


@torch.no_grad()
def _losses(
    model: nn.Module,
    loss: ModelLoss,
    data: Data,
    directions: list[Direction],
    steps: Sequence[tuple[float, ...]],
    subset: int | None,
) -> NDArray[np.float64]:
    x, y = checked_data(data, subset)
    weights = dict(model.named_parameters())
    for direction in directions:
        for name, weight in weights.items():
            if name not in direction or direction[name].shape != weight.shape:
                raise ValueError(f"direction has no tensor {name!r} of shape {tuple(weight.shape)}")
    losses = np.empty(len(steps))
    for i, step in enumerate(steps):
        moved = {
            name: weight + sum(a * d[name] for a, d in zip(step, directions, strict=True))
            for name, weight in weights.items()
        }
        losses[i] = float(evaluated(model, moved, loss, x, y))
    return losses
