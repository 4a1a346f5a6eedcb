"""Corruptions of images at three levels, in the manner of ImageNet-C."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.random import Generator, Philox
from numpy.typing import NDArray
from torch import Tensor

CORRUPTIONS: dict[str, tuple[float, float, float]] = {
    "noise": (0.1, 0.2, 0.3),  # standard deviation, in units of the full grey range
    "contrast": (0.6, 0.35, 0.15),  # factor on the distance from the image's mean
    "shift": (1, 2, 3),  # pixels
}
LEVELS = (1, 2, 3)


def corrupt(x: NDArray[np.float32], kind: str, level: int, *, seed: int) -> NDArray[np.float32]:
    """Corrupted copies of images, for robustness as in ImageNet-C.

    - `noise`: Gaussian noise is added;
    - `contrast`: each image shrinks towards its own mean;
    - `shift`: each image moves by whole pixels up, down, left or right, edges repeated.

    Args:
        x: (N, C, H, W).
        kind: one of `CORRUPTIONS`.
        level: severity, 1 to 3.
        seed: non-negative integer.

    Raises:
        ValueError: an unknown kind, a level out of range, or x without four axes.
    """
    if kind not in CORRUPTIONS:
        raise ValueError(f"kind={kind!r}; allowed: {', '.join(CORRUPTIONS)}")
    if level not in LEVELS:
        raise ValueError(f"level={level}; allowed 1, 2, 3")
    if x.ndim != 4:
        raise ValueError(f"x has shape {x.shape}; expected (N, C, H, W)")
    strength = CORRUPTIONS[kind][level - 1]
    rng = Generator(Philox(key=seed))
    if kind == "noise":
        return (x + strength * rng.standard_normal(x.shape)).astype(np.float32)
    if kind == "contrast":
        mean = x.mean(axis=(1, 2, 3), keepdims=True)
        return (mean + strength * (x - mean)).astype(np.float32)
    moves = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])[rng.integers(4, size=len(x))]
    rows, columns = (
        np.clip(np.arange(size) - int(strength) * moves[:, axis, None], 0, size - 1)
        for axis, size in enumerate(x.shape[2:])
    )
    n = np.arange(len(x))[:, None, None, None]
    c = np.arange(x.shape[1])[None, :, None, None]
    return x[n, c, rows[:, None, :, None], columns[:, None, None, :]].astype(np.float32)


def corrupted_members(x: Tensor, seeds: Sequence[int]) -> dict[tuple[str, int], Tensor]:
    """Every corruption at every level of the images of several seeds.

    Args:
        x: float32 (S, N, C, H, W), the images of each seed.
        seeds: non-negative integers, one per member; a member's noise depends on its own alone.

    Returns:
        (kind, level) -> images like x.

    Raises:
        ValueError: not one seed per member, or what :func:`corrupt` refuses.
    """
    if len(seeds) != len(x):
        raise ValueError(f"seeds has {len(seeds)} entries for the images of {len(x)} members")
    members = list(zip(x.numpy(), seeds, strict=True))
    return {
        (kind, level): torch.from_numpy(
            np.stack([corrupt(images, kind, level, seed=seed) for images, seed in members])
        )
        for kind in CORRUPTIONS
        for level in LEVELS
    }
