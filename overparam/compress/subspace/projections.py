"""Projections from R^d to R^D: what all share, the dense Gaussian one and native coordinates."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from overparam.compress.subspace.philox import PhiloxStream

DENSE_LIMIT = 50_000_000
ORTHONORMAL_LIMIT = 2_000
_CHUNK = 1 << 20


class Projection(nn.Module, ABC):
    """A frozen linear map P from R^d to R^D; its arrays are buffers, so P follows ``.to()``.

    The arrays have shapes that depend on (D, d) and not on the seed, so projections of several
    seeds stack and run as one program under ``torch.func.vmap``.

    Raises:
        ValueError: ``dim`` outside ``[1, full_dim]``.
    """

    def __init__(self, full_dim: int, dim: int) -> None:
        super().__init__()
        if not 1 <= dim <= full_dim:
            raise ValueError(f"dim must lie in [1, {full_dim}] (the full dimension), got {dim}")
        self.full_dim = full_dim
        self.dim = dim

    @abstractmethod
    def matvec(self, v: Tensor) -> Tensor:
        """``P v``: (..., d) -> (..., D), differentiable."""

    @abstractmethod
    def rmatvec(self, theta: Tensor) -> Tensor:
        """``P^T theta``: (..., D) -> (..., d), differentiable."""

    def to_dense(self) -> Tensor:
        """The matrix P, shape (D, d): for small problems and tests."""
        probe = next(buffer for buffer in self.buffers() if buffer.is_floating_point())
        return self.matvec(torch.eye(self.dim, dtype=probe.dtype, device=probe.device)).T

    def _freeze(self, name: str, values: NDArray[np.generic], dtype: torch.dtype) -> None:
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values)).to(dtype))

    def extra_repr(self) -> str:
        return f"full_dim={self.full_dim}, dim={self.dim}"


class DenseProjection(Projection):
    """Gaussian P with columns of unit length (Li et al. 2018, section 2; normalised as their code).

    Entries N(0, 1), each column divided by its norm over all D rows. ``orthonormal=True`` replaces
    the columns with an orthonormal basis of the same random subspace (QR, diagonal of R positive,
    which makes the factor unique).

    Args:
        full_dim: D.
        dim: d.
        seed: Philox key.
        stream: High half of the Philox key.
        orthonormal: Exactly orthonormal columns; d at most 2,000.
        dtype: Floating-point type of P; drawn and normalised in float64.

    Raises:
        ValueError: ``dim`` outside ``[1, full_dim]``; D d above 5e7; orthonormal with d above
            2,000.
    """

    basis: Tensor

    def __init__(
        self,
        full_dim: int,
        dim: int,
        *,
        seed: int,
        stream: int = 0,
        orthonormal: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(full_dim, dim)
        if full_dim * dim > DENSE_LIMIT:
            raise ValueError(
                f"a dense projection of {full_dim} x {dim} entries exceeds {DENSE_LIMIT}; "
                "use projection='fastfood' (memory O(D)) or 'sparse' (memory O(d sqrt(D)))"
            )
        if orthonormal and dim > ORTHONORMAL_LIMIT:
            raise ValueError(f"orthonormal needs dim <= {ORTHONORMAL_LIMIT}, got {dim}")
        draws = PhiloxStream(seed, stream)
        total = full_dim * dim
        blocks = [draws.normals(min(_CHUNK, total - start)) for start in range(0, total, _CHUNK)]
        columns = np.concatenate(blocks).reshape(dim, full_dim)
        if orthonormal:
            q, r = np.linalg.qr(columns.T)
            columns = (q * np.where(np.diag(r) < 0, -1.0, 1.0)).T
        else:
            columns /= np.linalg.norm(columns, axis=1, keepdims=True)
        # P^T, because a product along its long rows is several times faster than along P's.
        self._freeze("basis", columns, dtype)

    def matvec(self, v: Tensor) -> Tensor:
        return v @ self.basis

    def rmatvec(self, theta: Tensor) -> Tensor:
        return theta @ self.basis.T


class CoordinateProjection(Projection):
    """P whose columns are d distinct native coordinates: the baseline that trains d raw weights.

    Args:
        full_dim: D.
        dim: d.
        seed: Philox key; the first d entries of a random permutation of D are trained.
        stream: High half of the Philox key.
        dtype: Floating-point type of the ones.

    Raises:
        ValueError: ``dim`` outside ``[1, full_dim]``.
    """

    coordinates: Tensor
    ones: Tensor

    def __init__(
        self,
        full_dim: int,
        dim: int,
        *,
        seed: int,
        stream: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(full_dim, dim)
        self._freeze(
            "coordinates", PhiloxStream(seed, stream).permutation(full_dim)[:dim], torch.int64
        )
        self._freeze("ones", np.ones(dim), dtype)

    def matvec(self, v: Tensor) -> Tensor:
        theta = v.new_zeros(*v.shape[:-1], self.full_dim)
        return theta.index_add(-1, self.coordinates, v * self.ones)

    def rmatvec(self, theta: Tensor) -> Tensor:
        return theta.index_select(-1, self.coordinates) * self.ones
