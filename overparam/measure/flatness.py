"""How flat a minimum is: largest Hessian eigenvalue, trace, SAM's sharpness, a slice of the loss.

These are the measures that the literature on sharpness-aware training reports side by side, e.g. Du
et al., NeurIPS 2022, arXiv 2205.14083, Section 4. A training that diverged counts as NaN.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from torch import Tensor, nn

from overparam.measure.hessian_eigenvalues import (
    Data,
    ModelLoss,
    NotFiniteError,
    hessian_top_eigenvalues,
    hessian_trace,
)
from overparam.measure.loss_slice import LossSlice, loss_slice_1d
from overparam.measure.sam_sharpness import sam_sharpness


class Flatness(NamedTuple):
    """Three views of the surroundings of a minimum.

    Attributes:
        trace: of the loss's Hessian, estimated.
        sam_sharpness: rise of the loss a step of length rho uphill.
        slice: the loss along a filter-normalised random direction.
    """

    trace: float
    sam_sharpness: float
    slice: LossSlice


def lambda_max(model: nn.Module, loss: ModelLoss, data: Data) -> float:
    """The largest eigenvalue of the loss's Hessian, or NaN where the model has diverged.

    Args:
        model, loss, data: as for :func:`hessian_top_eigenvalues`, whose defaults hold.

    Raises:
        ValueError, RuntimeError: what is refused there, but for values that are not finite.

    Example:
        >>> import torch
        >>> model = nn.Linear(2, 1, bias=False)
        >>> x, y = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1)
        >>> round(lambda_max(model, nn.functional.mse_loss, (x, y)), 4)
        4.0
    """
    try:
        return float(hessian_top_eigenvalues(model, loss, data)[0])
    except NotFiniteError:
        return math.nan


def flatness(
    model: nn.Module,
    loss: ModelLoss,
    data: Data,
    *,
    rho: float = 0.05,
    probes: int = 30,
    points: int = 41,
) -> Flatness:
    """Trace, SAM sharpness and loss slice of a model.

    Args:
        model: runs in eval mode and is left as it was.
        loss: ``loss(model(x), y)`` to a scalar, a mean over samples.
        data: x (N, ...) and y (N, ...).
        rho: radius of :func:`sam_sharpness`.
        probes: of :func:`hessian_trace`.
        points: of :func:`loss_slice_1d`.

    Returns:
        NaN throughout (and a slice of one NaN) where weights, the loss or its derivatives at the
        weights or along the slice are not finite: a training that diverged has no flatness.

    Raises:
        ValueError: what those three functions refuse otherwise.
    """
    try:
        return Flatness(
            hessian_trace(model, loss, data, probes=probes).trace,
            sam_sharpness(model, loss, data, rho),
            loss_slice_1d(model, loss, data, points=points),
        )
    except NotFiniteError:
        return Flatness(math.nan, math.nan, LossSlice(np.full(1, np.nan), np.full(1, np.nan)))


def flatness_tables(
    models: Iterable[nn.Module],
    seeds: Sequence[int],
    loss: ModelLoss,
    x: Tensor,
    y: Tensor,
    *,
    rho: float = 0.05,
    probes: int = 30,
    points: int = 41,
) -> dict[str, pd.DataFrame]:
    """:func:`flatness` of several models on data of their own.

    Args:
        models: one per seed.
        seeds: of the models.
        loss: as for :func:`flatness`, as are rho, probes and points.
        x: (E, N, ...), each model's.
        y: (E, N, ...).

    Returns:
        ``flatness``: columns seed, trace, sam_sharpness. ``slices``: columns seed, step, loss, a
        row per point.

    Raises:
        ValueError: not as many models as seeds, and what :func:`flatness` refuses.
    """
    rows, slices = [], []
    for model, seed, inputs, targets in zip(models, seeds, x, y, strict=True):
        found = flatness(model, loss, (inputs, targets), rho=rho, probes=probes, points=points)
        rows.append({"seed": seed, "trace": found.trace, "sam_sharpness": found.sam_sharpness})
        line = {"seed": seed, "step": found.slice.steps, "loss": found.slice.losses}
        slices.append(pd.DataFrame(line))
    return {"flatness": pd.DataFrame(rows), "slices": pd.concat(slices, ignore_index=True)}
