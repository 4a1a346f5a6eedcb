"""Where spline knots may lie and how a function is evaluated there, shared by all searches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]
Function = Callable[[Any], Any]
Space = Literal["linear", "log", "asinh"]
BoundaryCondition = Literal["not-a-knot", "natural", "clamped"]

__all__ = ["BoundaryCondition", "DiscontinuityError", "Sampler", "Space"]

MINIMUM_KNOTS = {"not-a-knot": 4, "natural": 3, "clamped": 3}


class DiscontinuityError(ValueError):
    """A bin that still fails at the resolution of float64: f looks discontinuous there.

    Attributes:
        x: left knot, test point and right knot of the bin.
        y: the values of f there.
    """

    def __init__(self, message: str, x: Float, y: Float) -> None:
        super().__init__(message)
        self.x, self.y = x, y


class Sampler:
    """Evaluates f on vectors of points, counts the points and refuses what is no function value."""

    def __init__(self, f: Function, vectorize: bool) -> None:
        if not callable(f):
            raise TypeError(f"f must be callable, got {type(f).__name__}")
        self._f, self._vectorize = f, vectorize
        self._components: tuple[int, ...] | None = None
        self.count = 0

    def __call__(self, x: Float) -> Float:
        """f at (n,) points: (n,), or (n, d) for a vector-valued f."""
        y = self._values(x)
        if y.dtype.kind not in "fiub":
            raise ValueError(f"f must return real numbers, got {y.dtype}")
        y = y.astype(np.float64)
        fits = y.ndim in (1, 2) and y.shape[0] == x.size and self._components in (None, y.shape[1:])
        if not fits:
            wanted = (x.size, *(self._components or ()))
            raise ValueError(
                f"f must be vectorised: for x of shape {x.shape} it returned shape {y.shape} "
                f"instead of {wanted}; pass vectorize=True for a function of one number"
            )
        if not np.isfinite(y).all():
            bad = x[~np.isfinite(y.reshape(x.size, -1)).all(1)][0]
            raise ValueError(f"f must be finite, but is not at x = {bad:.17g}")
        self._components = y.shape[1:]
        self.count += x.size
        return y

    def _values(self, x: Float) -> NDArray[Any]:
        if self._vectorize:
            return np.asarray([self._f(float(point)) for point in x])
        try:
            return np.asarray(self._f(x))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"f failed for a vector of {x.size} points ({error}); f must be vectorised: "
                "pass vectorize=True for a function of one number"
            ) from error


def to_uniform(x: ArrayLike, space: Space) -> Float:
    """T(x), the coordinate in which knots are spaced: x, ln x or asinh x."""
    value = np.asarray(x, dtype=np.float64)
    if space == "linear":
        return value
    return np.asarray(np.log(value) if space == "log" else np.arcsinh(value))


def from_uniform(t: Float, space: Space) -> Float:
    """The inverse of :func:`to_uniform`."""
    if space == "linear":
        return t
    return np.asarray(np.exp(t) if space == "log" else np.sinh(t))


def spaced_knots(a: float, b: float, n: int, space: Space) -> tuple[Float, Float]:
    """n knots equispaced in T, as (t, x); the ends of x are a and b exactly."""
    check_interval(a, b, space)
    t = np.linspace(to_uniform(a, space), to_uniform(b, space), n)
    x = from_uniform(t, space).copy()
    x[0], x[-1] = a, b
    if (np.diff(x) <= 0).any():
        raise ValueError(f"[a, b] = [{a!r}, {b!r}] is too short for {n} distinct knots")
    return t, x


def check_interval(a: float, b: float, space: Space) -> None:
    """Refuse an interval that is empty, not finite or outside the domain of ``space``."""
    if space not in get_args(Space):
        raise ValueError(f"space must be one of {get_args(Space)}, got {space!r}")
    if not (np.isfinite(a) and np.isfinite(b)):
        raise ValueError(f"a and b must be finite, got a = {a}, b = {b}")
    if a >= b:
        raise ValueError(f"a must be below b, got a = {a}, b = {b}")
    if space == "log" and a <= 0:
        raise ValueError(f"a must be > 0 for space='log', got a = {a}")


def check_tolerance(rel: float, scale: ArrayLike) -> Float:
    """Refuse a tolerance out of range; the scale as an array, () or one per component."""
    if not 0 < rel < 1:
        raise ValueError(f"rel must be in (0, 1), got {rel}")
    value = np.asarray(scale, dtype=np.float64)
    if value.ndim > 1 or not (np.isfinite(value) & (value >= 0)).all():
        raise ValueError(f"scale must be finite and >= 0, got {scale!r}")
    return value


def check_count(name: str, n: int, bc: BoundaryCondition = "not-a-knot") -> None:
    """Refuse fewer knots than the spline type needs, and an unknown type."""
    if bc not in MINIMUM_KNOTS:
        raise ValueError(f"bc must be one of {tuple(MINIMUM_KNOTS)}, got {bc!r}")
    if n < MINIMUM_KNOTS[bc]:
        raise ValueError(f"{name} must be at least {MINIMUM_KNOTS[bc]} for {bc}, got {n}")


def discontinuity(x: Float, y: Float, largest: float, scale: Float) -> DiscontinuityError:
    """The error for that one of several failed bins, (bins, 3) and (bins, 3, ...), that jumps most.

    ``largest`` is the largest |f| seen; ``scale`` the one of the tolerance.
    """
    worst = int(np.argmax(np.ptp(y.reshape(len(y), 3, -1), axis=1).max(1)))
    x, y = x[worst], y[worst]
    message = (
        f"f looks discontinuous near x = {x[1]:.17g}: f({x[0]:.17g}) = {y[0]}, "
        f"f({x[1]:.17g}) = {y[1]}, f({x[2]:.17g}) = {y[2]}"
    )
    near_zero = np.abs(y).min() < 1e-3 * largest or (np.sign(y[0]) != np.sign(y[2])).any()
    if (scale == 0).all() and near_zero:
        message += (
            "; if f only passes through zero there, no relative error can be met: pass scale, "
            f"for example scale={1e-3 * largest:.1g}"
        )
    return DiscontinuityError(message, x, y)
