"""Matrix sensing problems: linear measurements of a low-rank matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from overparam.datasets.files import read_arrays

Float = NDArray[np.float64]
Seeds = int | Sequence[int]

__all__ = [
    "SensingOperator",
    "SensingProblem",
    "load_sensing_problem",
    "low_rank_ground_truth",
    "positive_semidefinite",
]


class SensingOperator:
    """Linear map ``A(M)_i = <A_i, M>`` from n1 x n2 matrices to m measurements.

    ``kind="gaussian"`` draws the entries of each A_i from N(0, 1/m), so that E[A*A] is the
    identity; ``kind="identity"`` is the m -> infinity limit, A(M) = vec(M), and stores nothing
    (m = n1 n2). Several seeds make a batch of independent operators: every argument and result
    then carries a leading axis over the seeds, and axes between it and the matrix axes share the
    seed's operator (several step sizes or starts on one problem).

    Args:
        shape: (n1, n2) of the matrices.
        m: number of measurements (Gaussian only).
        kind: "gaussian" or "identity".
        seed: one seed, or a sequence of S seeds for a batch. The operator of a seed does not
            depend on which other seeds are in the batch.

    Raises:
        ValueError: for a size below 1, an unknown kind, or ``m`` missing or given where the
            kind does not allow it.

    Example:
        >>> op = SensingOperator((3, 2), kind="identity")
        >>> op.forward(np.ones((3, 2))).shape
        (6,)

    Reference: Xiong, Ding and Du, ICLR 2024, arXiv 2310.01769, section 2.
    """

    shape: tuple[int, int]
    m: int
    kind: Literal["gaussian", "identity"]
    batch: int | None
    matrices: Float | None

    def __init__(
        self,
        shape: tuple[int, int],
        m: int | None = None,
        kind: Literal["gaussian", "identity"] = "gaussian",
        seed: Seeds = 0,
    ) -> None:
        n1, n2 = _checked_shape(shape)
        if kind not in ("gaussian", "identity"):
            raise ValueError(f"kind must be 'gaussian' or 'identity', got {kind!r}")
        seeds = None if isinstance(seed, int | np.integer) else [int(s) for s in seed]
        if seeds == []:
            raise ValueError("seed must be an integer or a non-empty sequence of integers, got []")
        self.shape, self.kind = (n1, n2), kind
        self.batch = None if seeds is None else len(seeds)
        self.matrices = None
        if kind == "identity":
            if m not in (None, n1 * n2):
                raise ValueError(f"m must be n1*n2 = {n1 * n2} or None for 'identity', got {m}")
            self.m = n1 * n2
            return
        if m is None or m < 1:
            raise ValueError(f"m must be at least 1 for a Gaussian operator, got {m}")
        self.m = int(m)
        draws = [
            _generator(s, 0).standard_normal((self.m, n1 * n2)) / np.sqrt(self.m)
            for s in ([cast(int, seed)] if seeds is None else seeds)
        ]
        self.matrices = draws[0] if seeds is None else np.stack(draws)

    @classmethod
    def from_matrices(cls, matrices: ArrayLike) -> SensingOperator:
        """Operator with given sensing matrices (m, n1, n2), or a batch (S, m, n1, n2) of them.

        They are used as they are.

        Raises:
            ValueError: if the array has another number of axes, is empty, or is not finite.
        """
        values = np.asarray(matrices, dtype=np.float64)
        if values.ndim not in (3, 4) or 0 in values.shape:
            raise ValueError(f"A must have shape (m, n1, n2) or (S, m, n1, n2), got {values.shape}")
        if not np.isfinite(values).all():
            raise ValueError("A must be finite, but holds NaN or infinity")
        op = cls.__new__(cls)
        op.m, op.shape = values.shape[-3], (values.shape[-2], values.shape[-1])
        op.kind, op.batch = "gaussian", None if values.ndim == 3 else values.shape[0]
        op.matrices = np.ascontiguousarray(values.reshape(*values.shape[:-2], -1))
        return op

    def forward(self, M: ArrayLike) -> Float:
        """A(M): (..., n1, n2) -> (..., m)."""
        values = self._with_axes(M, self.shape, "M")
        flat = values.reshape(*values.shape[:-2], -1)
        if self.matrices is None:
            return flat
        return self._rows(flat, np.swapaxes(self.matrices, -1, -2))

    def adjoint(self, z: ArrayLike) -> Float:
        """A*(z) = sum_i z_i A_i: (..., m) -> (..., n1, n2)."""
        values = self._with_axes(z, (self.m,), "z")
        flat = values if self.matrices is None else self._rows(values, self.matrices)
        return flat.reshape(*values.shape[:-1], *self.shape)

    def normal(self, M: ArrayLike) -> Float:
        """A*(A(M)): (..., n1, n2) -> (..., n1, n2).

        Where n1 n2 < 2 m the Gram matrix sum_i vec(A_i) vec(A_i)^T, formed once, is the cheaper
        way: (n1 n2)^2 instead of 2 m n1 n2 multiplications.
        """
        values = self._with_axes(M, self.shape, "M")
        if self.matrices is None:
            return values
        if self.shape[0] * self.shape[1] < 2 * self.m:
            flat = values.reshape(*values.shape[:-2], -1)
            return self._rows(flat, self._gram).reshape(values.shape)
        return self.adjoint(self.forward(values))

    def measure(self, M: ArrayLike, noise: float = 0.0, seed: Seeds = 0) -> Float:
        """Measurements y = A(M) + noise * e with e_i i.i.d. N(0, 1), shape (..., m).

        ``seed`` is one seed, or one for each index of M's first axis (each operator of a batch).
        """
        if not noise >= 0 or not np.isfinite(noise):
            raise ValueError(f"noise must be a finite number >= 0, got {noise}")
        y = self.forward(M)
        if noise == 0:
            return y
        if isinstance(seed, int | np.integer):
            return y + noise * _generator(seed, 1).standard_normal(y.shape)
        if y.ndim < 2 or len(y) != len(seed):
            wanted = f"an integer or {len(y)} seeds" if y.ndim > 1 else "an integer"
            raise ValueError(f"seed must be {wanted}, got {len(seed)} seeds")
        return y + noise * np.stack([_generator(s, 1).standard_normal(y.shape[1:]) for s in seed])

    def rip_estimate(self, rank: int, trials: int = 100, seed: int = 0) -> Float:
        """Lower bound on the restricted isometry constant delta_rank.

        The largest | ||A(M)||^2 - 1 | over ``trials`` random matrices M = U V^T of the given rank
        and unit Frobenius norm (U, V Gaussian). A scalar array, or (S,) for a batch.
        """
        n1, n2 = self.shape
        if not 1 <= rank <= min(n1, n2):
            raise ValueError(f"rank must be in 1..{min(n1, n2)}, got {rank}")
        if trials < 1:
            raise ValueError(f"trials must be at least 1, got {trials}")
        rng = _generator(seed, 2)
        left, right = (
            rng.standard_normal((trials, n1, rank)),
            rng.standard_normal((trials, n2, rank)),
        )
        M = left @ right.swapaxes(-1, -2)
        M /= np.linalg.norm(M, axis=(-2, -1), keepdims=True)
        if self.batch is not None:
            M = np.broadcast_to(M, (self.batch, *M.shape))
        return cast(Float, np.abs((self.forward(M) ** 2).sum(-1) - 1).max(-1))

    @cached_property
    def _gram(self) -> Float:
        assert self.matrices is not None
        return np.swapaxes(self.matrices, -1, -2) @ self.matrices

    def _rows(self, flat: Float, matrix: Float) -> Float:
        """flat @ matrix, all axes between the seed and the last one as rows of one product."""
        lead = () if self.batch is None else (self.batch,)
        rows = flat.reshape(*lead, -1, flat.shape[-1]) @ matrix
        return rows.reshape(*flat.shape[:-1], matrix.shape[-1])

    def _with_axes(self, value: ArrayLike, last: tuple[int, ...], name: str) -> Float:
        array = np.asarray(value, dtype=np.float64)
        lead = array.shape[: array.ndim - len(last)]
        if array.shape[len(lead) :] != last or (self.batch and lead[:1] != (self.batch,)):
            wanted = "" if self.batch is None else f"{self.batch}, "
            raise ValueError(
                f"{name} must have shape ({wanted}..., {', '.join(map(str, last))}), "
                f"got {array.shape}"
            )
        return array


def low_rank_ground_truth(
    n1: int,
    n2: int,
    r: int,
    kappa: float = 1.0,
    symmetric: bool = False,
    seed: Seeds = 0,
) -> Float:
    """Unknown matrix M = U diag(s) V^T with s linearly spaced from 1 to 1/kappa.

    U (n1 x r) and V (n2 x r) are Haar distributed with orthonormal columns; the symmetric case
    has U = V, hence is positive semi-definite.

    Returns:
        (n1, n2), or (S, n1, n2) for a sequence of S seeds.

    Raises:
        ValueError: for r outside 1..min(n1, n2), kappa < 1, or a symmetric rectangle.
    """
    _checked_shape((n1, n2))
    if not 1 <= r <= min(n1, n2):
        raise ValueError(f"r must be in 1..{min(n1, n2)}, got {r}")
    if not kappa >= 1 or not np.isfinite(kappa):
        raise ValueError(f"kappa must be a finite number >= 1, got {kappa}")
    if symmetric and n1 != n2:
        raise ValueError(f"symmetric needs n1 == n2, got n1 = {n1}, n2 = {n2}")
    if not isinstance(seed, int | np.integer):
        return np.stack([low_rank_ground_truth(n1, n2, r, kappa, symmetric, s) for s in seed])
    rng = _generator(seed, 3)
    U = _haar(rng, n1, r)
    V = U if symmetric else _haar(rng, n2, r)
    return (U * np.linspace(1, 1 / kappa, r)) @ V.T


def positive_semidefinite(M: ArrayLike, tolerance: float = 1e-9) -> bool:
    """Whether a matrix is symmetric positive semi-definite up to rounding, so that M = X X^T.

    ``tolerance`` is relative to the largest entry; a matrix that is not finite is not.
    """
    values = np.asarray(M, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or not np.isfinite(values).all():
        return False
    allowed = tolerance * np.abs(values).max()
    asymmetry = np.abs(values - values.T).max()
    return bool(asymmetry <= allowed and np.linalg.eigvalsh(values)[0] >= -allowed)


@dataclass(frozen=True)
class SensingProblem:
    """A sensing operator, its measurements y (m,) and, where known, the matrix behind them."""

    op: SensingOperator
    y: Float
    truth: Float | None


def load_sensing_problem(path: str | Path, normalize: bool = True) -> SensingProblem:
    """Read a user's ``.npz`` with ``A`` (m, n1, n2), ``y`` (m,) and optionally ``M`` (n1, n2).

    Args:
        path: the file (``.npz`` or ``.safetensors``); arrays of objects are refused.
        normalize: multiply A and y by the same factor so that the mean of A*A is the identity
            (sum of squares of A equal to n1 n2). The solutions stay the same and step sizes keep
            the meaning they have for the Gaussian operator.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: for a file that can't be read, or naming the array that is missing, of the
            wrong shape, or not finite.
    """
    arrays = read_arrays(path)
    missing = [name for name in ("A", "y") if name not in arrays]
    if missing:
        raise ValueError(f"{path} lacks {missing}; it holds {sorted(arrays)}")
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise ValueError(f"{name} in {path} must be a finite real array, got {array.dtype}")
    op = SensingOperator.from_matrices(arrays["A"])
    y = arrays["y"].astype(np.float64)
    if y.shape != (op.m,):
        raise ValueError(f"y in {path} must have shape ({op.m},), got {y.shape}")
    truth = arrays["M"].astype(np.float64) if "M" in arrays else None
    if truth is not None and truth.shape != op.shape:
        raise ValueError(f"M in {path} must have shape {op.shape}, got {truth.shape}")
    if normalize:
        assert op.matrices is not None
        power = float((op.matrices**2).sum())
        if power == 0:
            raise ValueError(f"A in {path} is zero everywhere")
        factor = np.sqrt(op.shape[0] * op.shape[1] / power)
        op.matrices, y = op.matrices * factor, y * factor
    return SensingProblem(op, y, truth)


def _generator(seed: int, stream: int) -> np.random.Generator:
    if seed < 0:
        raise ValueError(f"seed must be >= 0, got {seed}")
    return np.random.Generator(np.random.Philox(key=[seed, stream]))


def _haar(rng: np.random.Generator, n: int, r: int) -> Float:
    Q, R = np.linalg.qr(rng.standard_normal((n, r)))
    # QR alone is not Haar: the signs of R's diagonal have to be fixed (Mezzadri 2007).
    return cast(Float, Q * np.sign(np.diag(R)))


def _checked_shape(shape: tuple[int, int]) -> tuple[int, int]:
    n1, n2 = (int(n) for n in shape)
    if n1 < 1 or n2 < 1:
        raise ValueError(f"shape must be two sizes >= 1, got {shape}")
    return n1, n2
