"""What the factored descents demand of their arguments, before any work."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from overparam.datasets.matrix_sensing import SensingOperator
from overparam.training.factor_trace import Int, log_spaced_steps

Float = NDArray[np.float64]


def checked_start(
    op: SensingOperator, init: Sequence[ArrayLike], parameterization: str
) -> tuple[Float, Float]:
    check_parameterization(parameterization, op.shape)
    factors = [np.array(factor, dtype=np.float64) for factor in init]
    wanted = 1 if parameterization == "symmetric" else 2
    if isinstance(init, np.ndarray) or len(factors) != wanted:
        raise ValueError(f"init must be a tuple of {wanted} factor(s) for {parameterization!r}")
    F, G = factors[0], factors[-1]
    if F.ndim < 2 or F.shape[:-2] != G.shape[:-2] or F.shape[-1] != G.shape[-1]:
        raise ValueError(f"init has factors of shapes {F.shape} and {G.shape}, which do not fit")
    if (F.shape[-2], G.shape[-2]) != op.shape:
        raise ValueError(f"init has {F.shape[-2]} and {G.shape[-2]} rows, needs {op.shape}")
    if op.batch is not None and F.shape[:1] != (op.batch,):
        raise ValueError(f"init must lead with the operator's axis of {op.batch}, got {F.shape}")
    check_rank(F.shape[-1], op.shape)
    if not (np.isfinite(F).all() and np.isfinite(G).all()):
        raise ValueError("init must be finite, but holds NaN or infinity")
    return F, G


def check_target(
    op: SensingOperator,
    y: Float,
    M: Float | None,
    k: int,
    eta: float,
    parameterization: str,
) -> None:
    if not eta > 0 or not np.isfinite(eta):
        raise ValueError(f"eta must be a finite number > 0, got {eta}")
    known = M if M is not None or op.kind == "gaussian" else op.adjoint(y)
    if known is not None:
        largest = float(np.linalg.norm(known, ord=2, axis=(-2, -1)).max())
        # (The margin keeps rounding in the norm from letting eta = 2/||M|| through.)
        if eta * largest >= 2 * (1 - 1e-12):
            raise ValueError(f"eta must be below 2/||M|| = {2 / largest:.6g}, got {eta}")
    if M is None:
        return
    rank = int(np.max(np.linalg.matrix_rank(M)))
    if rank > k:
        warnings.warn(
            f"under-parameterised: rank(M) = {rank} > k = {k}, the error cannot reach zero",
            UserWarning,
            stacklevel=4,
        )
    if parameterization == "symmetric":
        scale = np.abs(M).max()
        if np.abs(M - np.swapaxes(M, -1, -2)).max() > 1e-9 * scale:
            raise ValueError("truth must be symmetric for the symmetric parameterization")
        smallest = float(np.linalg.eigvalsh(M).min())
        if smallest < -1e-9 * scale:
            raise ValueError(
                "truth must be positive semi-definite for the symmetric parameterization, "
                f"its smallest eigenvalue is {smallest:.6g}"
            )


def aligned(value: ArrayLike, batch: tuple[int, ...], last: tuple[int, ...], name: str) -> Float:
    """The array with its leading axes matched, from the left, to those of the batch."""
    array = np.asarray(value, dtype=np.float64)
    lead = array.shape[: max(array.ndim - len(last), 0)]
    fits = len(lead) <= len(batch) and all(n in (1, b) for n, b in zip(lead, batch, strict=False))
    if array.shape[len(lead) :] != last or not fits:
        raise ValueError(
            f"{name} must have shape (..., {', '.join(map(str, last))}) with leading axes of "
            f"{batch}, got {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, but holds NaN or infinity")
    return array.reshape(*lead, *(1,) * (len(batch) - len(lead)), *last)


def checked_record(record_at: Sequence[int] | Int | None, steps: int) -> Int:
    if record_at is None:
        return log_spaced_steps(steps)
    chosen = np.asarray(record_at, dtype=np.int64).reshape(-1)
    if chosen.size and (chosen.min() < 0 or chosen.max() > steps):
        raise ValueError(f"record_at must lie in 0..{steps}, got {chosen.min()}..{chosen.max()}")
    return np.union1d(chosen, [0, steps])


def check_rank(k: int, shape: tuple[int, int]) -> None:
    if not 1 <= k <= min(shape):
        raise ValueError(f"k must be in 1..{min(shape)}, got {k}")


def check_parameterization(parameterization: str, shape: tuple[int, int]) -> None:
    if parameterization not in ("symmetric", "asymmetric"):
        raise ValueError(
            f"parameterization must be 'symmetric' or 'asymmetric', got {parameterization!r}"
        )
    if parameterization == "symmetric" and shape[0] != shape[1]:
        raise ValueError(f"the symmetric parameterization needs a square shape, got {shape}")
