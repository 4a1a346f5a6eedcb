"""Standardisation with the mean and the deviation of the training set."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Standardizer:
    """``(x - mean) / scale``, both taken from training data alone.

    Attributes:
        mean: broadcasts against a batch.
        scale: standard deviation (ddof 0); 1 where the training data are constant.

    Example:
        >>> scale = Standardizer.fit(np.array([[0.0, 5.0], [2.0, 5.0]]))
        >>> scale(np.array([[1.0, 6.0]])).tolist()
        [[0.0, 1.0]]
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def fit(cls, x_train: NDArray[np.floating], axis: int | tuple[int, ...] = 0) -> "Standardizer":
        """Mean and deviation over ``axis``: 0 per feature, (0, 2, 3) per channel of images.

        Raises:
            ValueError: no samples, or values that are not finite.
        """
        x = np.asarray(x_train, dtype=np.float64)
        if x.ndim == 0 or len(x) == 0:
            raise ValueError(f"x_train has shape {x.shape}; expected (N, ...) with N >= 1")
        if not np.isfinite(x).all():
            raise ValueError(
                f"x_train has {int((~np.isfinite(x)).sum())} values that are not finite"
            )
        mean, scale = x.mean(axis=axis, keepdims=True), x.std(axis=axis, keepdims=True)
        # Rounding can leave a tiny deviation in a constant feature, which must not be blown up.
        largest = np.abs(x).max(axis=axis, keepdims=True)
        constant = scale <= 10 * np.finfo(np.float64).eps * largest
        return cls(mean=mean, scale=np.where(constant, 1.0, scale))

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        """Standardised copy, in the dtype of x when that is floating."""
        dtype = x.dtype if np.issubdtype(x.dtype, np.floating) else np.float64
        return ((x - self.mean) / self.scale).astype(dtype)
