"""Very sparse random projection, O(d sqrt(D)) memory."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from overparam.compress.subspace.philox import PhiloxStream
from overparam.compress.subspace.projections import Projection


class SparseProjection(Projection):
    """Very sparse P with entries 0 and +-1 up to scale (Li, Hastie and Church 2006).

    In block b (a parameter tensor of D_b entries) each entry is non-zero with probability
    ``p_b = 1 / sqrt(D_b)`` and then ``+-sqrt(1 / p_b)`` with fair sign: the law of scikit-learn's
    ``SparseRandomProjection`` block by block, as in the paper's code. Each column is divided by its
    norm over all blocks together. A column that came out empty (possible in tiny networks) is drawn
    again. Memory O(d sum_b sqrt(D_b)).

    Non-zeros are kept as triplets sorted by row and padded with zeros to six standard deviations
    above their expected number, which gives all seeds the same shapes.

    Args:
        full_dim: D.
        dim: d.
        seed: Philox key.
        stream: High half of the Philox key.
        block_sizes: Sizes D_b, summing to D; one block by default.
        dtype: Floating-point type of the values.

    Raises:
        ValueError: ``dim`` outside ``[1, full_dim]``; block sizes that are not positive or do not
            sum to D.
    """

    rows: Tensor
    columns: Tensor
    values: Tensor

    def __init__(
        self,
        full_dim: int,
        dim: int,
        *,
        seed: int,
        stream: int = 0,
        block_sizes: Sequence[int] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(full_dim, dim)
        sizes = np.array([full_dim] if block_sizes is None else list(block_sizes), dtype=np.int64)
        if (sizes < 1).any() or sizes.sum() != full_dim:
            raise ValueError(f"block_sizes must be positive and sum to {full_dim}, got {sizes}")
        draws = PhiloxStream(seed, stream)
        rows, columns = _sparse_pattern(draws, sizes, dim)
        magnitude = np.repeat(sizes.astype(np.float64) ** 0.25, sizes)
        values = draws.signs(len(rows)) * magnitude[rows]
        values /= np.sqrt(np.bincount(columns, weights=values**2, minlength=dim))[columns]
        density = 1.0 / np.sqrt(sizes)
        mean, variance = dim * sizes @ density, dim * sizes @ (density * (1.0 - density))
        padding = max(int(np.ceil(mean + 6.0 * np.sqrt(variance))) + dim - len(rows), 0)
        order = np.lexsort((columns, rows))
        self._freeze("rows", np.pad(rows[order], (0, padding), mode="edge"), torch.int64)
        self._freeze("columns", np.pad(columns[order], (0, padding), mode="edge"), torch.int64)
        self._freeze("values", np.pad(values[order], (0, padding)), dtype)

    def matvec(self, v: Tensor) -> Tensor:
        moved = v.index_select(-1, self.columns) * self.values
        return v.new_zeros(*v.shape[:-1], self.full_dim).index_add(-1, self.rows, moved)

    def rmatvec(self, theta: Tensor) -> Tensor:
        moved = theta.index_select(-1, self.rows) * self.values
        return theta.new_zeros(*theta.shape[:-1], self.dim).index_add(-1, self.columns, moved)


def _sparse_pattern(
    draws: PhiloxStream, sizes: NDArray[np.int64], dim: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the non-zeros; no column is empty."""
    rows: list[NDArray[np.int64]] = []
    columns: list[NDArray[np.int64]] = []
    missing = np.arange(dim, dtype=np.int64)
    starts = np.cumsum(sizes) - sizes
    while len(missing):
        for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
            cells = draws.successes(len(missing) * size, size**-0.5)
            rows.append(start + cells % size)
            columns.append(missing[cells // size])
        missing = np.setdiff1d(missing, np.concatenate(columns))
    return np.concatenate(rows), np.concatenate(columns)
