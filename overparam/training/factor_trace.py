"""What is recorded along a descent on matrix factors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from overparam.datasets.matrix_sensing import SensingOperator

Float = NDArray[np.float64]
Int = NDArray[np.int64]

__all__ = ["FactorTrace", "log_spaced_steps"]


@dataclass(frozen=True)
class FactorTrace:
    """Quantities along a descent; every array but ``step`` is (recorded steps, *batch).

    Attributes:
        step: iteration numbers, strictly increasing.
        residual: ||A(F G^T) - y||.
        err2: ||F G^T - M||_F^2, None where M was not given.
        sigma_min_F: smallest of the k singular values of F.
        imbalance_drift: ||Delta_t - Delta_0||_F with Delta = F^T F - G^T G, which gradient flow
            conserves; Delta_0 is taken anew after a balance-breaking step.
    """

    step: Int
    residual: Float
    err2: Float | None
    sigma_min_F: Float
    imbalance_drift: Float

    def to_frame(self, *axes: pd.DataFrame) -> pd.DataFrame:
        """One row per batch member and recorded step.

        Args:
            axes: for each batch axis a frame with one row per position on it; its columns label
                the rows of the members there.

        Returns:
            Columns of ``axes``, then step, err2 (NaN where unknown), residual, sigma_min_F,
            imbalance_drift.

        Raises:
            ValueError: for axes that do not match the batch.
        """
        batch = self.residual.shape[1:]
        if tuple(len(axis) for axis in axes) != batch:
            raise ValueError(f"axes must have {batch} rows, got {[len(axis) for axis in axes]}")
        members = pd.DataFrame(index=pd.RangeIndex(1))
        for axis in axes:
            members = members.merge(axis, how="cross")
        count = len(self.step)
        err2 = np.full_like(self.residual, np.nan) if self.err2 is None else self.err2
        columns = {"err2": err2, "residual": self.residual, "sigma_min_F": self.sigma_min_F}
        columns["imbalance_drift"] = self.imbalance_drift
        rows = members.loc[members.index.repeat(count)].reset_index(drop=True)
        return rows.assign(
            step=np.tile(self.step, len(members)),
            **{name: values.reshape(count, -1).T.reshape(-1) for name, values in columns.items()},
        )


class Recorder:
    """Collects the rows of a :class:`FactorTrace`."""

    def __init__(self, op: SensingOperator, y: Float, truth: Float | None) -> None:
        self._op, self._y, self._truth = op, y, truth
        self._rows: list[tuple[int, Float, Float, Float, Float]] = []
        self._delta0: Float | float = 0.0

    def restart_imbalance(self, F: Float, G: Float, members: NDArray[np.bool_]) -> None:
        """Measure the drift of these batch members from the present factors on."""
        self._delta0 = np.where(members[..., None, None], imbalance(F, G), self._delta0)

    def residual(self, product: Float) -> Float:
        """||A(product) - y|| of each member."""
        return np.asarray(np.linalg.norm(self._op.forward(product) - self._y, axis=-1))

    def record(self, step: int, F: Float, G: Float, product: Float) -> Float:
        """Append a row and return the residual of each member."""
        residual = self.residual(product)
        nothing = np.full_like(residual, np.nan)
        err2 = nothing if self._truth is None else ((product - self._truth) ** 2).sum((-2, -1))
        sigma = np.linalg.svd(F, compute_uv=False)[..., -1]
        drift = np.linalg.norm(imbalance(F, G) - self._delta0, axis=(-2, -1))
        self._rows.append((step, residual, np.asarray(err2), np.asarray(sigma), np.asarray(drift)))
        return residual

    def trace(self) -> FactorTrace:
        """Everything recorded so far."""
        step, residual, err2, sigma, drift = (
            np.array(column) for column in zip(*self._rows, strict=True)
        )
        known = None if self._truth is None else err2
        return FactorTrace(step.astype(np.int64), residual, known, sigma, drift)


def imbalance(F: Float, G: Float) -> Float:
    """Delta = F^T F - G^T G, (..., k, k)."""
    return np.asarray(np.swapaxes(F, -1, -2) @ F - np.swapaxes(G, -1, -2) @ G)


def log_spaced_steps(steps: int, count: int = 200) -> Int:
    """At most ``count`` distinct step numbers in 0..steps, dense at first, both ends included."""
    if steps < 1 or count < 2:
        raise ValueError(f"steps must be >= 1 and count >= 2, got {steps} and {count}")
    spaced = np.rint(np.geomspace(1, steps, count - 1)).astype(np.int64)
    return np.unique(np.concatenate(([0], spaced)))
