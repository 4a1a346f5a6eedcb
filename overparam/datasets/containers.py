"""Plain containers for data sets: arrays and where they come from."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Meta = dict[str, str]


@dataclass(frozen=True)
class Labelled:
    """Samples and labels.

    Attributes:
        x: inputs (N, ...), floating.
        y: labels (N,), int64.
        meta: source, package, version, licence, SHA-256 of the file; whatever is known.
    """

    x: NDArray[np.floating]
    y: NDArray[np.int64]
    meta: Meta = field(default_factory=dict)


@dataclass(frozen=True)
class Split:
    """A training set and a test set.

    Attributes:
        x_train: inputs (N, ...).
        y_train: labels (N,).
        x_test: inputs (M, ...).
        y_test: labels (M,).
        meta: where the data come from.
    """

    x_train: NDArray[np.floating]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.floating]
    y_test: NDArray[np.int64]
    meta: Meta = field(default_factory=dict)
