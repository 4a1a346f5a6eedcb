"""MNIST-1D: ten one-dimensional glyphs from a seeded program (Greydanus, 2020)."""

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from overparam.datasets.containers import Split

# One 12-point glyph per class, as published.
GLYPHS = np.array(
    [
        [5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5],
        [5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5],
        [5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5],
        [5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5],
        [5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5],
        [5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5],
        [5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5],
        [5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5],
    ]
)
SMOOTHING = 2.0  # width of the Gaussian filter that correlates the background noise


def mnist1d(
    n_train: int = 4000,
    n_test: int = 1000,
    *,
    seed: int,
    length: int = 40,
    padding: tuple[int, int] = (36, 60),
    scale: float = 0.4,
    max_translation: int = 48,
    correlated_noise: float = 0.25,
    iid_noise: float = 0.02,
    shear: float = 0.75,
    shuffle_positions: bool = False,
) -> Split:
    """Signals of ``length`` points in ten balanced classes; defaults as in the published set.

    Each glyph, normalised and shifted to start at 0, is padded with a random number of zeros,
    stretched to a common length L = 12 + padding[1], scaled by 1 + scale * U(-1/2, 1/2), rolled by
    fewer than ``max_translation`` points, laid on a background of smoothed Gaussian noise, covered
    with white noise, sheared by a line of slope shear * U(-1/2, 1/2), and resampled linearly. All
    samples are made at once.

    Unlike the published program, the result is standardised with the mean and deviation of the
    training signals alone, and the random stream is NumPy's Philox: same distribution, other draws.

    Args:
        n_train: training samples.
        n_test: test samples.
        seed: non-negative integer.
        length: points of a signal.
        padding: least and largest number of zeros.
        scale: width of the random factor.
        max_translation: number of possible shifts, at most L.
        correlated_noise: standard deviation of the background before smoothing.
        iid_noise: standard deviation of the white noise.
        shear: width of the random slope.
        shuffle_positions: apply one random permutation of the points to all signals.

    Returns:
        x (n, length) float32 and y (n,) int64 for both parts; over both together the class counts
        differ by at most 1.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> mnist1d(50, 10, seed=0).x_train.shape
        (50, 40)
    """
    stretched = GLYPHS.shape[1] + padding[1]
    _check(n_train, n_test, seed, length, padding, max_translation, stretched)
    noises = {
        "scale": scale,
        "correlated_noise": correlated_noise,
        "iid_noise": iid_noise,
        "shear": shear,
    }
    for name, value in noises.items():
        if not 0 <= value < np.inf:
            raise ValueError(f"{name}={value}; allowed: finite and >= 0")
    rng = Generator(Philox(key=seed))
    n = n_train + n_test
    y = rng.permutation(np.arange(n) % len(GLYPHS))
    pad = rng.integers(padding[0], padding[1], size=n, endpoint=True)
    x, on_glyph = _stretched_glyphs(y, pad, stretched)
    x *= 1 + scale * (rng.random((n, 1)) - 0.5)
    shift = rng.integers(max_translation, size=(n, 1))
    source = (np.arange(stretched) - shift) % stretched
    x, on_glyph = np.take_along_axis(x, source, 1), np.take_along_axis(on_glyph, source, 1)
    background = gaussian_filter1d(
        correlated_noise * rng.standard_normal((n, stretched)), SMOOTHING, axis=1
    )
    x = np.where(on_glyph, x, background) + iid_noise * rng.standard_normal((n, stretched))
    x -= shear * (rng.random((n, 1)) - 0.5) * np.linspace(-0.5, 0.5, stretched)
    x = x @ _resampling(stretched, length).T
    if shuffle_positions:
        x = x[:, rng.permutation(length)]
    x = ((x - x[:n_train].mean()) / x[:n_train].std()).astype(np.float32)
    return Split(
        x_train=x[:n_train],
        y_train=y[:n_train],
        x_test=x[n_train:],
        y_test=y[n_train:],
        meta={
            "source": "MNIST-1D, Greydanus 2020, arXiv 2011.14439",
            "generator": f"Philox({seed})",
        },
    )


def _stretched_glyphs(
    y: NDArray[np.int64], pad: NDArray[np.int64], stretched: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Padded glyphs resampled to ``stretched`` points, and which points lie on the glyph."""
    glyphs = GLYPHS - GLYPHS.mean(1, keepdims=True)
    glyphs /= glyphs.std(1, keepdims=True)
    glyphs = (glyphs - glyphs[:, :1]) / 6
    points = glyphs.shape[1]
    padded = np.pad(glyphs, ((0, 0), (0, 2)))  # beyond the glyph the signal is 0
    position = np.linspace(0, 1, stretched) * (points + pad[:, None] - 1)
    left = np.minimum(position.astype(np.int64), points)
    weight = np.where(position < points, position - left, 0)
    rows = y[:, None]
    x = (1 - weight) * padded[rows, left] + weight * padded[rows, left + 1]
    return x, position < points


def _resampling(old: int, new: int) -> NDArray[np.float64]:
    """(new, old) matrix of linear interpolation between equally spaced points."""
    position = np.linspace(0, 1, new) * (old - 1)
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(old)))


def _check(
    n_train: int,
    n_test: int,
    seed: int,
    length: int,
    padding: tuple[int, int],
    max_translation: int,
    stretched: int,
) -> None:
    if n_train < 2 or n_test < 0:
        raise ValueError(f"n_train={n_train}, n_test={n_test}; allowed: n_train >= 2, n_test >= 0")
    if seed < 0:
        raise ValueError(f"seed={seed}; allowed >= 0")
    if length < 2:
        raise ValueError(f"length={length}; allowed >= 2")
    if not 0 <= padding[0] <= padding[1]:
        raise ValueError(f"padding={padding}; allowed: 0 <= least <= largest")
    if not 1 <= max_translation <= stretched:
        raise ValueError(f"max_translation={max_translation}; allowed 1..{stretched}")
