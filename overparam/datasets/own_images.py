"""The user's own images from two NumPy files."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from overparam.datasets.containers import Labelled
from overparam.datasets.own import read_labelled


def read_images(images: str | Path, labels: str | Path) -> Labelled:
    """Read images and classes.

    Args:
        images: a ``.npy`` file, floating (N, H, W, C).
        labels: a ``.npy`` file, integers (N,).

    Returns:
        x (N, C, H, W) float32, channels first as convolutions take them; y (N,) int64.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the images have another number of axes; what
            :func:`~overparam.datasets.read_labelled` refuses.
    """
    data = read_labelled(images, labels)
    if data.x.ndim != 4:
        raise ValueError(f"images has shape {data.x.shape}; allowed: (N, H, W, C)")
    return replace(data, x=np.moveaxis(data.x, -1, 1).astype(np.float32))
