"""Random test functions on [-1, 1] for interpolation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import BarycentricInterpolator

Float = NDArray[np.float64]
Kind = Literal["cosines", "polynomial", "rbf", "plateaus"]
Parameters = Mapping[str, list[float]]

__all__ = ["RandomFunction", "random_function"]

RBF_EPSILON = 8.0
# Points that nearly coincide give weights of any size that cancel in the sum. Beyond this the
# values carry rounding errors above 1e-9, and what is to be interpolated is noise.
RBF_LARGEST_WEIGHTS = 1e7
# Points of one evaluation are taken in blocks, so that memory stays at BLOCK x terms.
BLOCK = 65536


@dataclass(frozen=True)
class RandomFunction:
    """A vectorised function and what defines it.

    ``RandomFunction(kind, parameters)`` builds the same function again from stored parameters.

    Attributes:
        kind: "cosines" sum_j a_j cos(2 pi nu_j x); "polynomial" of degree len(x) - 1 through
            the points (x, y); "rbf" sum_j w_j exp(-(epsilon (x - c_j))^2); "plateaus"
            sum_j a_j tanh((x - c_j) / w_j).
        parameters: lists of numbers by name, ready for JSON.
    """

    kind: Kind
    parameters: Parameters

    def __post_init__(self) -> None:
        if self.kind not in FAMILIES:
            raise ValueError(f"kind must be one of {tuple(FAMILIES)}, got {self.kind!r}")
        wanted = FAMILIES[self.kind].names
        lengths = {len(self.parameters.get(name, ())) for name in wanted}
        if set(self.parameters) != set(wanted) or len(lengths) != 1 or 0 in lengths:
            raise ValueError(
                f"parameters of {self.kind!r} must be equally long lists {list(wanted)}, "
                f"got { {name: len(v) for name, v in self.parameters.items()} }"
            )

    def __call__(self, x: ArrayLike) -> Float:
        """Values at points of any shape."""
        points = np.asarray(x, dtype=np.float64)
        arrays = [np.array(self.parameters[name]) for name in FAMILIES[self.kind].names]
        flat = points.reshape(-1)
        blocks = [
            FAMILIES[self.kind].evaluate(flat[i : i + BLOCK], *arrays)
            for i in range(0, max(flat.size, 1), BLOCK)
        ]
        return np.concatenate(blocks).reshape(points.shape)


def random_function(kind: Kind, seed: int, terms: int | None = None) -> RandomFunction:
    """Draw a function of one of the families of arXiv 2412.13423, section on random functions.

    Args:
        kind: "cosines" (amplitudes N(0, 1), frequencies N(0, 1.5^2)); "polynomial" and
            "rbf" through points with x ~ U(-1, 1) and y ~ N(0, 1), Gaussian kernel, epsilon 8;
            "plateaus" (amplitudes N(0, 1), centres U(-1, 1), widths log-uniform in 1e-3..1e-1).
            RBF points whose weights sum to more than 1e7 in absolute value are drawn again (a
            quarter of the draws): rounding would dominate them.
        seed: >= 0; the draw depends on kind, seed and terms alone.
        terms: summands or points: 10, 6, 20 and 4 by default.

    Raises:
        ValueError: for an unknown kind, a negative seed or terms < 1.
    """
    if kind not in FAMILIES:
        raise ValueError(f"kind must be one of {tuple(FAMILIES)}, got {kind!r}")
    if seed < 0:
        raise ValueError(f"seed must be >= 0, got {seed}")
    n = FAMILIES[kind].terms if terms is None else terms
    if n < 1:
        raise ValueError(f"terms must be at least 1, got {terms}")
    stream = get_args(Kind).index(kind)
    rng = np.random.Generator(np.random.Philox(key=[seed, 100 + stream]))
    arrays = FAMILIES[kind].draw(rng, n)
    names = FAMILIES[kind].names
    return RandomFunction(kind, {k: v.tolist() for k, v in zip(names, arrays, strict=True)})


@dataclass(frozen=True)
class _Family:
    terms: int
    names: tuple[str, ...]
    draw: Callable[[np.random.Generator, int], tuple[Float, ...]]
    evaluate: Callable[..., Float]


def _draw_cosines(rng: np.random.Generator, n: int) -> tuple[Float, ...]:
    return rng.standard_normal(n), 1.5 * rng.standard_normal(n)


def _cosines(x: Float, amplitude: Float, frequency: Float) -> Float:
    return np.cos(2 * np.pi * np.outer(x, frequency)) @ amplitude


def _draw_points(rng: np.random.Generator, n: int) -> tuple[Float, ...]:
    return np.sort(rng.uniform(-1, 1, n)), rng.standard_normal(n)


def _polynomial(x: Float, nodes: Float, values: Float) -> Float:
    # The order of the nodes matters to rounding only; a fixed generator keeps it reproducible.
    return np.asarray(BarycentricInterpolator(nodes, values, rng=np.random.default_rng(0))(x))


def _draw_rbf(rng: np.random.Generator, n: int) -> tuple[Float, ...]:
    while True:
        centre, values = _draw_points(rng, n)
        weight = np.asarray(np.linalg.solve(_kernel(centre, centre), values))
        if np.abs(weight).sum() <= RBF_LARGEST_WEIGHTS:
            return centre, weight


def _rbf(x: Float, centre: Float, weight: Float) -> Float:
    return _kernel(x, centre) @ weight


def _kernel(x: Float, centre: Float) -> Float:
    return np.exp(-((RBF_EPSILON * (x[:, None] - centre)) ** 2))


def _draw_plateaus(rng: np.random.Generator, n: int) -> tuple[Float, ...]:
    width = np.exp(rng.uniform(np.log(1e-3), np.log(1e-1), n))
    return rng.standard_normal(n), rng.uniform(-1, 1, n), width


def _plateaus(x: Float, amplitude: Float, centre: Float, width: Float) -> Float:
    return np.tanh((x[:, None] - centre) / width) @ amplitude


FAMILIES: dict[str, _Family] = {
    "cosines": _Family(10, ("amplitude", "frequency"), _draw_cosines, _cosines),
    "polynomial": _Family(6, ("x", "y"), _draw_points, _polynomial),
    "rbf": _Family(20, ("centre", "weight"), _draw_rbf, _rbf),
    "plateaus": _Family(4, ("amplitude", "centre", "width"), _draw_plateaus, _plateaus),
}
