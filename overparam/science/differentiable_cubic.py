"""A cubic spline as a torch module, differentiable in its query points and in its values."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_banded
from torch import Tensor, nn

from overparam.science.knot_sampling import BoundaryCondition, check_count

Float = NDArray[np.float64]

__all__ = ["DifferentiableCubic"]


class DifferentiableCubic(nn.Module):
    """Cubic spline through (x, y), evaluated in batches on any device.

    Replaces a costly closed form inside a model by a table. Equal to
    ``scipy.interpolate.CubicSpline`` with the same end condition, also outside [x_0, x_n], where
    the end cubics go on. Gradients flow to the query points and, with ``trainable=True``, to y:
    the slopes at the knots solve a tridiagonal system A s = B y, whose transpose gives the
    gradient; all in O(n).

    Args:
        x: (n,) strictly increasing knots.
        y: (n,) or (n, d) values.
        bc: "not-a-knot", "natural" or "clamped" (zero slope at both ends).
        trainable: make y a parameter; the spline is then solved for at every call.
        extrapolate: False refuses queries outside [x_0, x_n].

    Raises:
        ValueError: for too few knots, shapes that do not fit, x not increasing, values not
            finite, or (at a call) a query outside the knots where that is refused.

    Example:
        >>> table = DifferentiableCubic([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 8.0, 27.0])
        >>> table(torch.tensor(1.5)), table.derivative(torch.tensor(2.0))
        (tensor(3.3750, dtype=torch.float64), tensor(12.0000, dtype=torch.float64))
    """

    x: Tensor
    y: Tensor
    fixed_slopes: Tensor | None

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike,
        bc: BoundaryCondition = "not-a-knot",
        *,
        trainable: bool = False,
        extrapolate: bool = True,
    ) -> None:
        super().__init__()
        knots, values = np.array(x, dtype=np.float64), np.array(y, dtype=np.float64)
        if knots.ndim != 1 or values.ndim not in (1, 2) or len(values) != len(knots):
            raise ValueError(
                f"x and y must have shapes (n,) and (n,) or (n, d), got {knots.shape}, "
                f"{values.shape}"
            )
        check_count("the number of knots", len(knots), bc)
        if not (np.isfinite(knots).all() and np.isfinite(values).all()):
            raise ValueError("x and y must be finite")
        if (np.diff(knots) <= 0).any():
            raise ValueError("x must be strictly increasing")
        self.extrapolate = extrapolate
        self._bc = bc
        self._bands = _bands(knots, bc)
        self.register_buffer("x", torch.tensor(knots))
        values_tensor = torch.tensor(values)
        if trainable:
            self.y = nn.Parameter(values_tensor)
            self.register_buffer("fixed_slopes", None)
        else:
            self.register_buffer("y", values_tensor)
            self.register_buffer("fixed_slopes", self._solve(values_tensor))

    def forward(self, q: Tensor) -> Tensor:
        """S(q): any shape -> the same shape, with an axis d behind it for a vector-valued y."""
        h, u, y0, y1, s0, s1 = self._bin(q)
        rise = y1 - y0
        return y0 + u * (
            h * s0 + u * (3 * rise - h * (2 * s0 + s1) + u * (h * (s0 + s1) - 2 * rise))
        )

    def derivative(self, q: Tensor) -> Tensor:
        """S'(q), of the shape of ``forward(q)``."""
        h, u, y0, y1, s0, s1 = self._bin(q)
        rise = (y1 - y0) / h
        return s0 + u * (2 * (3 * rise - 2 * s0 - s1) + u * 3 * (s0 + s1 - 2 * rise))

    def slopes(self) -> Tensor:
        """S'(x_i) at the knots, of the shape of y."""
        return self._solve(self.y) if self.fixed_slopes is None else self.fixed_slopes

    def extra_repr(self) -> str:
        return f"knots={len(self.x)}, bc={self._bc!r}, trainable={self.fixed_slopes is None}"

    def _solve(self, y: Tensor) -> Tensor:
        rhs = _right_hand_side(self.x.to(y), y, self._bc)
        return _TridiagonalSolve.apply(rhs, self._bands, False)  # type: ignore[no-untyped-call]

    def _bin(self, q: Tensor) -> tuple[Tensor, ...]:
        if not self.extrapolate and bool(((q < self.x[0]) | (q > self.x[-1])).any()):
            raise ValueError(
                f"q must lie in [{float(self.x[0])}, {float(self.x[-1])}], "
                f"got {float(q.min())} to {float(q.max())}"
            )
        i = torch.searchsorted(self.x, q.detach().to(self.x).contiguous(), right=True) - 1
        i = i.clamp(0, len(self.x) - 2)
        h = self.x[i + 1] - self.x[i]
        u = (q - self.x[i]) / h
        if self.y.ndim == 2:
            h, u = h[..., None], u[..., None]
        slopes = self.slopes()
        return h, u, self.y[i], self.y[i + 1], slopes[i], slopes[i + 1]


class _TridiagonalSolve(torch.autograd.Function):
    """A^-1 rhs, or A^-T rhs, for a constant tridiagonal A; differentiable to any order."""

    @staticmethod
    def forward(ctx: Any, rhs: Tensor, bands: Float, transposed: bool) -> Tensor:
        ctx.bands, ctx.transposed = bands, transposed
        upper, diagonal, lower = bands
        matrix = (np.roll(lower, 1), diagonal, np.roll(upper, -1)) if transposed else bands
        solution = solve_banded((1, 1), np.array(matrix), rhs.detach().cpu().double().numpy())
        return torch.from_numpy(solution).to(rhs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        back = _TridiagonalSolve.apply(gradients[0], ctx.bands, not ctx.transposed)  # type: ignore[no-untyped-call]
        return back, None, None


def _bands(x: Float, bc: BoundaryCondition) -> Float:
    """A in A s = B y as LAPACK bands, (3, n): upper, diagonal, lower.

    Inner rows say that S'' is continuous, the first and last one are the end conditions.
    """
    h = np.diff(x)
    lower, upper = np.append(h[1:], 0.0), np.append(0.0, h[:-1])
    diagonal = np.concatenate(([1.0], 2 * (h[:-1] + h[1:]), [1.0]))
    if bc == "natural":
        diagonal[[0, -1]] = 2.0
        lower[-1] = upper[0] = 1.0
    elif bc == "not-a-knot":
        diagonal[0], diagonal[-1] = h[1], h[-2]
        upper[0], lower[-1] = x[2] - x[0], x[-1] - x[-3]
    return np.array([np.append(0.0, upper), diagonal, np.append(lower, 0.0)])


def _right_hand_side(x: Tensor, y: Tensor, bc: BoundaryCondition) -> Tensor:
    h = torch.diff(x)
    if y.ndim == 2:
        h = h[:, None]
    chord = torch.diff(y, dim=0) / h
    inner = 3 * (h[1:] * chord[:-1] + h[:-1] * chord[1:])
    if bc == "clamped":
        first = last = torch.zeros_like(chord[:1])
    elif bc == "natural":
        first, last = 3 * chord[:1], 3 * chord[-1:]
    else:
        left, right = h[0] + h[1], h[-1] + h[-2]
        first = ((h[0] + 2 * left) * h[1] * chord[0] + h[0] ** 2 * chord[1])[None] / left
        last = (h[-1] ** 2 * chord[-2] + (2 * right + h[-1]) * h[-2] * chord[-1])[None] / right
    return torch.cat([first, inner, last])
