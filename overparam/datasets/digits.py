"""Handwritten digits that ship inside scikit-learn."""

import hashlib
from pathlib import Path

import numpy as np
import sklearn
import sklearn.datasets

from overparam.datasets.containers import Labelled
from overparam.study import PackageFile

DIGITS_FILE = PackageFile("sklearn", "datasets/data/digits.csv.gz")
"""Where the digits lie; named in a study's config, it counts in the keys by its bytes."""


def digits(file: Path | None = None) -> Labelled:
    """1797 digits of 8x8 pixels, ten classes (Alpaydin and Kaynak, 1998, UCI).

    Args:
        file: ``digits.csv.gz`` (64 pixels and the digit in each line), by default scikit-learn's.

    Returns:
        x (1797, 64) float32 with whole numbers 0..16, row by row (reshape to (-1, 1, 8, 8) for
        images); y (1797,) int64. Meta names source, package, version, licence and the SHA-256 of
        the file.

    Example:
        >>> digits().x.shape
        (1797, 64)
    """
    file = file or Path(sklearn.datasets.__file__).parent / "data" / "digits.csv.gz"
    table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    return Labelled(
        x=table[:, :-1],
        y=table[:, -1].astype(np.int64),
        meta={
            "source": "UCI Optical Recognition of Handwritten Digits, test part",
            "package": "scikit-learn",
            "version": sklearn.__version__,
            "licence": "BSD-3-Clause (package); CC BY 4.0 (UCI data)",
            "file": f"sklearn/datasets/data/{file.name}",
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        },
    )
