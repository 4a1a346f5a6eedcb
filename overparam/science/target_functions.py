"""Functions to interpolate, each on its interval: fixed ones, random draws, projected halos.

The test functions of arXiv 2412.13423 (AutoKnots), as a table that can be stored and as callables
that are built again from its rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from overparam.datasets import RandomFunction, random_function
from overparam.datasets.random_functions import Kind
from overparam.science.projected_profile import mean_inside_error
from overparam.study import load_object
from overparam.theory import sigma_bar_hernquist, sigma_bar_nfw, sigma_hernquist, sigma_nfw

Float = NDArray[np.float64]
Function = Callable[[Float], Float]

__all__ = [
    "DRAWS_PER_SEED",
    "FIXED_FUNCTIONS",
    "HALOS",
    "HALO_RADII",
    "HaloTarget",
    "TargetFunction",
    "target_functions",
    "target_table",
]

RANDOM = get_args(Kind)
FAMILIES = ("fixed", "halo", *RANDOM, "own")
# The most draws of a family in a seed, so that no two seeds share one.
DRAWS_PER_SEED = 10_000
HALO_RADII = (1e-2, 1e2)
# Surface density Sigma of a halo, and its mean inside R, in units of its scale.
HALOS: dict[str, tuple[Function, Function]] = {
    "nfw": (sigma_nfw, sigma_bar_nfw),
    "hernquist": (sigma_hernquist, sigma_bar_hernquist),
}


@dataclass(frozen=True)
class TargetFunction:
    """A function on the interval where it is to be interpolated.

    Attributes:
        name: tells it from the others.
        f: vectorised, (n,) -> (n,).
        a, b: the interval, a < b.
        scale: magnitude below which f counts as small.
        space: spacing of the first knots and of the points at which errors are measured.
    """

    name: str
    f: Function
    a: float
    b: float
    scale: float = 0.0
    space: Literal["linear", "log"] = "linear"

    def grid(self, points: int) -> Float:
        """(points,) points from a to b, spaced as ``space`` says."""
        spaced = np.geomspace if self.space == "log" else np.linspace
        return np.clip(spaced(self.a, self.b, points), self.a, self.b)

    def derived_error(self, x: Float, y: Float, at: Float) -> float:
        """Largest relative error, at some points, of what is derived from a table (x, y) of f.

        NaN where nothing is derived.
        """
        return float("nan")


@dataclass(frozen=True)
class HaloTarget(TargetFunction):
    """The surface density of a halo, as a function of R or of ln R.

    Attributes:
        mean: the mean surface density inside R, in closed form; what is derived from a table.
        radius: R as a function of the variable.
    """

    mean: Function = sigma_bar_nfw
    radius: Function = np.asarray

    def derived_error(self, x: Float, y: Float, at: Float) -> float:
        """Largest relative error of the mean inside R that a table of Sigma gives."""
        return mean_inside_error(self.radius(x), y, self.mean, self.radius(at))


FIXED_FUNCTIONS = {
    target.name: target
    for target in (
        TargetFunction("exp", np.exp, 0.0, 5.0),
        TargetFunction("runge", lambda x: 1 / (1 + 25 * x**2), -1.0, 1.0),
        TargetFunction("sine", lambda x: np.sin(10 * x) + 2, 0.0, 3.0),
        TargetFunction("tanh", lambda x: np.tanh(50 * (x - 0.3)) + 1.5, 0.0, 1.0),
        TargetFunction("sqrt", lambda x: np.sqrt(x + 1e-3), 0.0, 1.0),
    )
}


def target_table(
    family: str,
    seed: int = 0,
    draws: int = 1,
    *,
    interval: tuple[float, float] = (0.0, 1.0),
    scale: float = 0.0,
) -> pd.DataFrame:
    """The functions of a family, a row each.

    Args:
        family: "fixed" (five functions with structure at one scale or several), "halo" (Sigma of
            the NFW and Hernquist profiles, R from 1e-2 to 1e2 scale radii, as a function of ln R
            and of R), a kind of :func:`overparam.datasets.random_functions.random_function` on
            [-1, 1] with scale 1, or "own": a function of the caller's.
        seed: >= 0, a fresh batch of draws for each; of the random kinds only.
        draws: in 1..10,000, functions of a random kind; the first k do not depend on how many.
        interval, scale: of the caller's function.

    Returns:
        function_id, a, b, scale, space, params (JSON).

    Raises:
        ValueError: an unknown family, or draws out of range.

    Example:
        >>> target_table("halo")["function_id"].tolist()
        ['nfw in ln R', 'hernquist in ln R', 'nfw in R', 'hernquist in R']
    """
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {FAMILIES}, got {family!r}")
    if not 1 <= draws <= DRAWS_PER_SEED:
        raise ValueError(f"draws must be in 1..{DRAWS_PER_SEED}, got {draws}")
    params = "{}"
    if family in RANDOM:
        drawn = [
            random_function(cast(Kind, family), seed * DRAWS_PER_SEED + i) for i in range(draws)
        ]
        rows = [
            (f"{family}-{seed}-{i}", -1.0, 1.0, 1.0, "linear", json.dumps(f.parameters))
            for i, f in enumerate(drawn)
        ]
    elif family == "halo":
        rows = [(f"{name} in ln R", *np.log(HALO_RADII), 0.0, "linear", params) for name in HALOS]
        rows += [(f"{name} in R", *HALO_RADII, 0.0, "log", params) for name in HALOS]
    elif family == "own":
        rows = [("own", float(interval[0]), float(interval[1]), scale, "linear", params)]
    else:
        rows = [(t.name, t.a, t.b, t.scale, t.space, params) for t in FIXED_FUNCTIONS.values()]
    return pd.DataFrame(rows, columns=["function_id", "a", "b", "scale", "space", "params"])


def target_functions(
    family: str, table: pd.DataFrame, own: Function | str | None = None
) -> list[TargetFunction]:
    """The functions that the rows of a :func:`target_table` describe.

    Args:
        family: what the table was made for.
        table: its rows, or some of them.
        own: the caller's function, for the family "own", or where it is: ``FILE.py:f`` or
            ``package.module:f``.

    Raises:
        ValueError: the caller's function is missing.
        ImportError: the file or module does not import.

    Example:
        >>> tanh = target_functions("fixed", target_table("fixed"))[3]
        >>> tanh.name, float(tanh.f(np.array(0.3)))
        ('tanh', 1.5)
    """
    if family == "own":
        if own is None:
            raise ValueError("own must be a function for the family 'own', got None")
        f = load_object(own) if isinstance(own, str) else own
        return [TargetFunction(name, f, **place) for name, place, _ in _rows(table)]
    if family in RANDOM:
        kind = cast(Kind, family)
        return [
            TargetFunction(name, RandomFunction(kind, json.loads(params)), **place)
            for name, place, params in _rows(table)
        ]
    if family == "halo":
        return [_halo(name, place) for name, place, _ in _rows(table)]
    return [
        TargetFunction(name, FIXED_FUNCTIONS[name].f, **place) for name, place, _ in _rows(table)
    ]


def _rows(table: pd.DataFrame) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Of each row the name, what says where the function is to be interpolated, and params."""
    for row in table.to_dict("records"):
        place = {name: row[name] for name in ("a", "b", "scale", "space")}
        yield row["function_id"], place, row["params"]


def _halo(name: str, place: Mapping[str, Any]) -> HaloTarget:
    halo, _, variable = name.partition(" in ")
    sigma, mean = HALOS[halo]
    if variable == "R":
        return HaloTarget(name, sigma, **place, mean=mean)
    return HaloTarget(name, lambda u: sigma(np.exp(u)), **place, mean=mean, radius=np.exp)
