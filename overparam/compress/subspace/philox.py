"""Random numbers that depend on a seed alone, not on device, thread count or library version."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri


class PhiloxStream:
    """Draws from the raw words of the counter-based generator Philox-4x64 with a given key.

    NumPy fixes a bit generator's raw words for good, but not the samplers of
    ``numpy.random.Generator``; a file that stores a seed instead of an array must not rest on
    those, so every distribution here is an explicit function of the raw words.

    Args:
        seed: Low 64 bits of the key; stream 0 is ``numpy.random.Philox(key=seed)``.
        stream: High 64 bits of the key; different streams of one seed are independent.

    Raises:
        TypeError: A key part is not an integer.
        ValueError: A key part is outside ``[0, 2**64)``.

    Example:
        >>> [int(word) for word in PhiloxStream(7).words(2)] == [
        ...     int(word) for word in np.random.Philox(key=7).random_raw(2)]
        True
    """

    def __init__(self, seed: int, stream: int = 0) -> None:
        for name, value in (("seed", seed), ("stream", stream)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise TypeError(f"{name} must be an integer, got {value!r}")
            if not 0 <= value < 2**64:
                raise ValueError(f"{name} must lie in [0, 2**64), got {value}")
        self._generator = np.random.Philox(key=int(seed) | int(stream) << 64)

    def words(self, count: int) -> NDArray[np.uint64]:
        """The next ``count`` raw 64-bit words."""
        return np.asarray(self._generator.random_raw(count), dtype=np.uint64)

    def uniforms(self, count: int) -> NDArray[np.float64]:
        """Uniforms strictly inside (0, 1): the midpoints ``(k + 1/2) 2**-52`` of 52-bit cells."""
        return ((self.words(count) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52

    def normals(self, count: int) -> NDArray[np.float64]:
        """Standard normals by inversion, ``ndtri(u)``."""
        return np.asarray(ndtri(self.uniforms(count)), dtype=np.float64)

    def signs(self, count: int) -> NDArray[np.int8]:
        """Independent fair signs -1 or +1, 64 of them from each word."""
        packed = self.words(-(-count // 64)).astype("<u8").view(np.uint8)
        return (2 * np.unpackbits(packed)[:count].astype(np.int8) - 1).astype(np.int8)

    def permutation(self, count: int) -> NDArray[np.int64]:
        """A uniform permutation of ``range(count)``: the order of ``count`` random words."""
        return np.argsort(self.words(count), kind="stable").astype(np.int64)

    def successes(self, trials: int, probability: float) -> NDArray[np.int64]:
        """Sorted positions of the successes among independent Bernoulli trials.

        Skips from success to success by geometric gaps ``floor(log u / log(1 - p))``, so time and
        memory go with the expected number of successes, not with ``trials``.
        """
        if probability >= 1.0:
            return np.arange(trials, dtype=np.int64)
        found: list[NDArray[np.int64]] = []
        last = -1
        while last < trials:
            expected = (trials - last) * probability
            block = int(expected + 4.0 * math.sqrt(expected)) + 16
            gaps = np.floor(np.log(self.uniforms(block)) / math.log1p(-probability))
            positions = last + np.cumsum(gaps.astype(np.int64) + 1)
            found.append(positions)
            last = int(positions[-1])
        positions = np.concatenate(found)
        return positions[positions < trials]
