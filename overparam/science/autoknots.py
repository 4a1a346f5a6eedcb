"""AutoKnots: as many spline knots as a tolerance asks for, where the function needs them.

Reference: Vitenti, de Simoni, Penna-Lima and Barroso, "AutoKnots: Adaptive Knot Allocation for
Spline Interpolation", Astronomy and Computing 2025, arXiv 2412.13423.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

from overparam.science.knot_sampling import (
    BoundaryCondition,
    Float,
    Function,
    Sampler,
    Space,
    check_count,
    check_tolerance,
    discontinuity,
    from_uniform,
    spaced_knots,
    to_uniform,
)

__all__ = ["AutoKnotsResult", "Sweep", "autoknots", "off_centre_simpson"]

EPSILON = float(np.finfo(np.float64).eps)
TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Sweep:
    """One sweep: knots before it, bins tested, bins that failed, bins re-opened as too wide."""

    knots: int
    tested: int
    failed: int
    reopened: int = 0


@dataclass(frozen=True)
class AutoKnotsResult:
    """A spline and how its knots were found.

    Attributes:
        spline: global cubic spline through all points; callable, with derivatives and
            antiderivatives (scipy.interpolate.CubicSpline).
        x: (n,) knots, increasing; ends are a and b exactly.
        y: (n,) or (n, d) values of f.
        n_eval: points at which f was evaluated, always equal to n.
        n_sweeps: number of sweeps.
        converged: the search ended because every bin had passed.
        history: one entry per sweep.
        sweep_added: (n,) sweep in which each knot was added, 0 for the first ones.
        rel, scale, space, bc: as asked for.
    """

    spline: CubicSpline
    x: Float
    y: Float
    n_eval: int
    n_sweeps: int
    converged: bool
    history: tuple[Sweep, ...]
    sweep_added: NDArray[np.int64]
    rel: float
    scale: Float
    space: Space
    bc: BoundaryCondition = "not-a-knot"

    @property
    def knots_refitted(self) -> int:
        """Knots of all splines that were fitted, the last one included: the search's own work."""
        return sum(sweep.knots for sweep in self.history) + len(self.x)


@dataclass
class KnotSearch:
    """State of a search: knots in both coordinates, and which bins are closed."""

    sampler: Sampler
    rel: float
    scale: Float
    space: Space
    bc: BoundaryCondition
    max_knots: int
    t: Float
    x: Float
    y: Float
    closed: NDArray[np.bool_]
    sweep_added: NDArray[np.int64]
    refine: int = 0
    refine_ns: float = 1.0
    integral_test: bool = True
    converged: bool = False
    history: list[Sweep] = field(default_factory=list)

    def run(self) -> None:
        """Sweep until every bin is closed, or ``max_knots`` would be exceeded."""
        self.converged = True
        while not self.closed.all():
            opened = np.flatnonzero(~self.closed)
            if self.x.size + opened.size > self.max_knots:
                warnings.warn(
                    f"max_knots = {self.max_knots} reached: {opened.size} of {self.closed.size} "
                    "bins have not passed, the tolerance may not be met",
                    UserWarning,
                    stacklevel=3,
                )
                self.converged = False
                return
            widths = np.diff(self.t)
            tm = (self.t[opened] + self.t[opened + 1]) / 2
            xm = from_uniform(tm, self.space)
            ym = self.sampler(xm)
            passed = self._passed(opened, xm, ym)
            self._refuse_jump(opened[~passed], tm[~passed], xm[~passed], ym[~passed])
            sweep = Sweep(self.x.size, opened.size, int((~passed).sum()))
            self.history.append(sweep)
            self.insert(opened, tm, xm, ym, passed)
            if passed.all() and self.refine > 0:
                limit = widths.mean() + self.refine_ns * widths.std(ddof=1)
                wide = np.diff(self.t) > limit
                if wide.any():
                    self.closed &= ~wide
                    self.refine -= 1
                    self.history[-1] = replace(sweep, reopened=int(wide.sum()))

    def insert(
        self, bins: NDArray[np.int64], t: Float, x: Float, y: Float, closed: NDArray[np.bool_]
    ) -> None:
        """Split bins at inner points; both halves of each are closed or open as told."""
        self.closed[bins] = closed
        self.closed = np.insert(self.closed, bins, closed)
        self.t, self.x = np.insert(self.t, bins + 1, t), np.insert(self.x, bins + 1, x)
        self.y = np.insert(self.y, bins + 1, y, axis=0)
        self.sweep_added = np.insert(self.sweep_added, bins + 1, len(self.history))

    def result(self) -> AutoKnotsResult:
        """The spline through every point that was evaluated."""
        return AutoKnotsResult(
            spline=CubicSpline(self.x, self.y, bc_type=self.bc),
            x=self.x,
            y=self.y,
            n_eval=self.sampler.count,
            n_sweeps=len(self.history),
            converged=self.converged,
            history=tuple(self.history),
            sweep_added=self.sweep_added,
            rel=self.rel,
            scale=self.scale,
            space=self.space,
            bc=self.bc,
        )

    def _passed(self, bins: NDArray[np.int64], xm: Float, ym: Float) -> NDArray[np.bool_]:
        """Value and integral test of each bin against the spline through the present knots."""
        coefficients = CubicSpline(self.x, self.y, bc_type=self.bc).c[:, bins]
        column = (-1, *(1,) * (ym.ndim - 1))
        left, h = self.x[bins], self.x[bins + 1] - self.x[bins]
        u, width = (xm - left).reshape(column), h.reshape(column)
        c3, c2, c1, c0 = coefficients
        value = c0 + u * (c1 + u * (c2 + u * c3))
        ok = np.abs(ym - value) <= self.rel * (np.abs(ym) + self.scale)
        if self.integral_test:
            # Per bin from the coefficients: differences of a running antiderivative lose the
            # digits of bins whose integral is small against all that lies to their left.
            integral = width * (c0 + width * (c1 / 2 + width * (c2 / 3 + width * c3 / 4)))
            weights = off_centre_simpson(h, (xm - (left + h / 2)) / (h / 2))
            w_left, w_mid, w_right = (weight.reshape(column) for weight in weights)
            rule = w_left * self.y[bins] + w_mid * ym + w_right * self.y[bins + 1]
            ok &= np.abs(rule - integral) <= self.rel * (np.abs(rule) + self.scale * width)
        return ok.reshape(len(bins), -1).all(1)

    def _refuse_jump(self, bins: NDArray[np.int64], tm: Float, xm: Float, ym: Float) -> None:
        """Raise if a failed bin is too narrow to be halved again in float64."""
        narrow = xm - self.x[bins] < 100 * EPSILON * np.maximum(np.abs(xm), TINY)
        narrow |= tm - self.t[bins] < 100 * EPSILON * (self.t[-1] - self.t[0])
        if narrow.any():
            x = np.stack([self.x[bins], xm, self.x[bins + 1]], 1)[narrow]
            y = np.stack([self.y[bins], ym, self.y[bins + 1]], 1)[narrow]
            raise discontinuity(x, y, float(np.abs(self.y).max()), self.scale)


def autoknots(
    f: Function,
    a: float,
    b: float,
    rel: float = 1e-5,
    scale: ArrayLike = 0.0,
    n0: int = 6,
    space: Space = "linear",
    refine: int = 0,
    refine_ns: float = 1.0,
    max_knots: int = 1_000_000,
    bc: BoundaryCondition = "not-a-knot",
    *,
    integral_test: bool = True,
    vectorize: bool = False,
) -> AutoKnotsResult:
    """Interpolate f on [a, b] by a cubic spline with knots allocated adaptively.

    Each sweep fits one spline S through all knots and puts a test point m in the middle (of
    T-space) of every open bin. A bin passes, and closes, if

        |f(m) - S(m)| <= rel (|f(m)| + scale)   and   |I_c - I_S| <= rel (|I_c| + scale h)

    with h the bin's width, I_S the integral of S over it and I_c :func:`off_centre_simpson`'s.
    Every test point becomes a knot whatever the tests say. The search ends with a sweep without
    failure, unless ``refine`` re-opens bins wider than the mean plus ``refine_ns`` standard
    deviations (plateaus between cliffs).

    The result is a heuristic, not a bound: the error is tested at one point per bin; a bin that
    closed early may be spoiled by later refits; what lies wholly between the first test points
    stays unseen (raise ``n0``); an odd f on a symmetric interval with an even ``n0`` closes its
    middle bin at once. :func:`overparam.science.audit_knots` checks and repairs a result.

    Args:
        f: vectorised function, (n,) -> (n,), or (n, d) for a vector-valued one (shared knots;
            the worst component decides).
        a, b: the interval, a < b.
        rel: relative tolerance in (0, 1).
        scale: magnitude below which f counts as small, >= 0; one number or one per component.
            Needed where f has zeros of high order.
        n0: number of first knots, at least 4 for not-a-knot splines.
        space: spacing T of the first knots and of the bisection: linear, log or asinh.
        refine: how often wide bins may be re-opened.
        refine_ns: standard deviations above the mean width that count as wide.
        max_knots: never exceeded; reaching it gives a warning and ``converged=False``.
        bc: end condition, "not-a-knot", "natural" or "clamped".
        integral_test: False leaves out the second test (an ablation).
        vectorize: f takes one number; call it in a loop.

    Raises:
        ValueError: for arguments out of range, values of f that are not finite or not of the
            shape of x.
        DiscontinuityError: if a bin fails down to the resolution of float64.

    Warns:
        UserWarning: if ``max_knots`` was reached.

    Example:
        >>> result = autoknots(np.exp, 0, 5, rel=1e-4)
        >>> result.n_eval == len(result.x), result.converged
        (True, True)

    Reference: Sections 2 and 3 of arXiv 2412.13423.
    """
    tolerance = check_tolerance(rel, scale)
    check_count("n0", n0, bc)
    if refine < 0 or not np.isfinite(refine_ns):
        raise ValueError(f"refine must be >= 0 and refine_ns finite, got {refine}, {refine_ns}")
    if max_knots < n0:
        raise ValueError(f"max_knots must be at least n0 = {n0}, got {max_knots}")
    t, x = spaced_knots(float(a), float(b), n0, space)
    sampler = Sampler(f, vectorize)
    y = sampler(x)
    if tolerance.ndim and tolerance.shape != y.shape[1:]:
        raise ValueError(f"scale has shape {tolerance.shape}, but f has {y.shape[1:]} components")
    search = KnotSearch(
        sampler=sampler,
        rel=rel,
        scale=tolerance,
        space=space,
        bc=bc,
        max_knots=max_knots,
        t=t,
        x=x,
        y=y,
        closed=np.zeros(n0 - 1, dtype=bool),
        sweep_added=np.zeros(n0, dtype=np.int64),
        refine=refine,
        refine_ns=refine_ns,
        integral_test=integral_test,
    )
    search.run()
    return search.result()


def resume(f: Function, result: AutoKnotsResult, max_knots: int, vectorize: bool) -> KnotSearch:
    """A search that stands where ``result`` ended, with every bin closed."""
    sampler = Sampler(f, vectorize)
    sampler.count = result.n_eval
    return KnotSearch(
        sampler=sampler,
        rel=result.rel,
        scale=result.scale,
        space=result.space,
        bc=result.bc,
        max_knots=max_knots,
        t=to_uniform(result.x, result.space),
        x=result.x,
        y=result.y,
        closed=np.ones(result.x.size - 1, dtype=bool),
        sweep_added=result.sweep_added,
        converged=result.converged,
        history=list(result.history),
    )


def off_centre_simpson(h: Float, delta: Float) -> tuple[Float, Float, Float]:
    """Weights of the three-point rule on a bin of width h with its middle node off centre.

    The nodes are the two ends and (centre + delta h/2), delta in (-1, 1). The rule is exact for
    quadratics; delta = 0 gives Simpson's.

    Returns:
        weights of the left end, the inner node and the right end.
    """
    left = h / 6 * (3 - 2 / (1 + delta))
    middle = h / 6 * 4 / (1 - delta**2)
    right = h / 6 * (3 - 2 / (1 - delta))
    return left, middle, right
