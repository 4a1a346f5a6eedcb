"""A small transfer suite from the scikit-learn digits, in the manner of VTAB."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from overparam.datasets.containers import Labelled
from overparam.datasets.digits import digits
from overparam.datasets.mnist1d import mnist1d
from overparam.datasets.own import read_labelled
from overparam.datasets.splits import stratified_split

Images = NDArray[np.float32]

SOURCE_IMAGES = 900
TRAIN_IMAGES = 200
VALIDATION_IMAGES = 200
TEST_IMAGES = 497

# Fixed, since a target task is one task whatever the seed: only which digits it sees may vary.
ROW_GAINS = np.array([0.3, 1.6, 0.5, 2.0, 0.2, 1.2, 0.4, 1.8], dtype=np.float32)
COLUMN_ORDER = np.array([3, 6, 1, 7, 0, 2, 5, 4])
CHECKERBOARD = (np.indices((8, 8)).sum(0) % 2).astype(np.float32)
BLUR_SIGMA = 0.7
BLUR_NOISE = 0.15


@dataclass(frozen=True)
class SourceTask:
    """Data to pretrain on: 80 classes, eight orientations of ten digits.

    Attributes:
        train: 7200 images of 900 digits, x (7200, 1, 8, 8) in 0..1, y = 10 * orientation + digit.
        test: the other 897 digits in all orientations, (7176, 1, 8, 8).
    """

    train: Labelled
    test: Labelled

    @property
    def parts(self) -> dict[str, Labelled]:
        """The samples by part, as :func:`~overparam.datasets.samples_table` takes them."""
        return {"train": self.train, "test": self.test}


@dataclass(frozen=True)
class TransferTask:
    """A task to adapt to.

    Attributes:
        name: the task.
        classes: number of classes.
        train: x (n_train, C, H, W), y.
        val: for choosing learning rates.
        test: the rest.
    """

    name: str
    classes: int
    train: Labelled
    val: Labelled
    test: Labelled

    @property
    def parts(self) -> dict[str, Labelled]:
        """The samples by part, as :func:`~overparam.datasets.samples_table` takes them."""
        return {"train": self.train, "val": self.val, "test": self.test}


def dihedral(x: NDArray[np.floating]) -> NDArray[np.floating]:
    """All eight rotations and reflections of square images: (N, C, S, S) to (8, N, C, S, S).

    Orientation k < 4 is a rotation by 90 k degrees, k >= 4 a left-right flip, then that rotation.
    """
    flipped = x[..., ::-1]
    return np.stack([np.rot90(y, k, axes=(-2, -1)) for y in (x, flipped) for k in range(4)])


def digit_source(seed: int, file: Path | None = None) -> SourceTask:
    """Source task: tell digit and orientation, for 900 digits that no target task of this seed has.

    Some classes look alike (a zero and its rotation), so accuracy on unseen digits stays below 1.

    Args:
        seed: non-negative integer.
        file: of the digits, as :func:`~overparam.datasets.digits` takes it.

    Raises:
        ValueError: a negative seed.
    """
    x, y, parts = _images(seed, file)
    return SourceTask(
        train=_orientations(x[parts[0]], y[parts[0]]),
        test=_orientations(*(np.concatenate([a[p] for p in parts[1:]]) for a in (x, y))),
    )


def digit_target(
    name: str, *, n_train: int = TRAIN_IMAGES, seed: int, file: Path | None = None
) -> TransferTask:
    """One target task, on digits that the source task of the same seed has not seen.

    - `inverted`: `1 - x`;
    - `row-gain`: each row times its own gain, 0.2 to 2;
    - `column-permutation`: the columns in another order;
    - `checkerboard`: `|x - board|`, exclusive or for black and white images;
    - `blurred-noise`: Gaussian blur (sigma 0.7 pixels), then noise of deviation 0.15;
    - `parity`: plain images, even or odd digit.

    Validation (200) and test (497) don't depend on `n_train`, training sets are drawn from the same
    200 images, and all tasks of a seed share their digits.

    Args:
        name: one of `TARGETS`.
        n_train: training images, 10 to 200, class shares kept.
        seed: non-negative integer.
        file: of the digits, as :func:`~overparam.datasets.digits` takes it.

    Raises:
        ValueError: an unknown name, `n_train` out of range, or a negative seed.
    """
    if name not in TARGETS:
        raise ValueError(f"name={name!r}; allowed: {', '.join(TARGETS)}")
    _check_n_train(n_train)
    x, y, (_, train, val, test) = _images(seed, file)
    # Changed before the split, so that a noisy image is the same whatever n_train is.
    x = TARGETS[name](x, Generator(Philox(key=seed))).astype(np.float32)
    if name == "parity":
        y = y % 2
    (subset,) = stratified_split(y[train], (n_train,), seed)
    train = train[subset]
    return TransferTask(
        name=name,
        classes=2 if name == "parity" else 10,
        train=Labelled(x[train], y[train]),
        val=Labelled(x[val], y[val]),
        test=Labelled(x[test], y[test]),
    )


def signal_target(*, n_train: int = TRAIN_IMAGES, seed: int) -> TransferTask:
    """MNIST-1D as a target of another kind: signals of 64 points, laid out row by row as 8 x 8.

    Sizes are those of `digit_target`; the values are standardised.

    Args:
        n_train: training signals, 10 to 200, the first ones of the same 200.
        seed: non-negative integer.

    Raises:
        ValueError: `n_train` out of range, or a negative seed.
    """
    _check_n_train(n_train)
    data = mnist1d(TRAIN_IMAGES, VALIDATION_IMAGES + TEST_IMAGES, length=64, seed=seed)
    x_train, x_rest = (x.reshape(-1, 1, 8, 8) for x in (data.x_train, data.x_test))
    return TransferTask(
        name="mnist1d",
        classes=10,
        train=Labelled(x_train[:n_train], data.y_train[:n_train]),
        val=Labelled(x_rest[:VALIDATION_IMAGES], data.y_test[:VALIDATION_IMAGES]),
        test=Labelled(x_rest[VALIDATION_IMAGES:], data.y_test[VALIDATION_IMAGES:]),
    )


def own_target(
    path: str | Path,
    *,
    n_train: int,
    n_val: int,
    seed: int,
    shape: tuple[int, int, int] | None = None,
) -> TransferTask:
    """Read the user's own target task, images `x` (N, C, H, W) and classes `y` (N,).

    Classes are numbered from 0 in sorted order; the split keeps their shares.

    Args:
        path: a file that `read_labelled` takes, for instance NPZ.
        n_train: training images.
        n_val: validation images; the rest is the test set.
        seed: non-negative integer, of the split.
        shape: (C, H, W) of the images that the network to adapt takes, if that is settled.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: what `read_labelled` refuses, x without four axes, images of another shape, or
            too few.
    """
    data = read_labelled(path)
    if data.x.ndim != 4:
        raise ValueError(f"{path}: x has shape {data.x.shape}; expected images (N, C, H, W)")
    if shape is not None and data.x.shape[1:] != shape:
        raise ValueError(f"{path}: images are {data.x.shape[1:]}; the network takes {shape}")
    known, y = np.unique(data.y, return_inverse=True)
    parts = stratified_split(y, (n_train, n_val, -1), seed)
    train, val, test = (
        Labelled(data.x[part].astype(np.float32), y[part].astype(np.int64), data.meta)
        for part in parts
    )
    return TransferTask(Path(path).stem, len(known), train, val, test)


def _check_n_train(n_train: int) -> None:
    if not 10 <= n_train <= TRAIN_IMAGES:
        raise ValueError(f"n_train={n_train}; allowed 10..{TRAIN_IMAGES}")


def _images(
    seed: int, file: Path | None
) -> tuple[Images, NDArray[np.int64], tuple[NDArray[np.int64], ...]]:
    data = digits(file)
    parts = stratified_split(data.y, (SOURCE_IMAGES, TRAIN_IMAGES, VALIDATION_IMAGES, -1), seed)
    return (data.x / 16).reshape(-1, 1, 8, 8).astype(np.float32), data.y, parts


def _orientations(x: Images, y: NDArray[np.int64]) -> Labelled:
    turned = dihedral(x)
    labels = 10 * np.arange(8)[:, None] + y
    return Labelled(x=turned.reshape(-1, *x.shape[1:]).astype(np.float32), y=labels.reshape(-1))


def _inverted(x: Images, rng: Generator) -> NDArray[np.floating]:
    return 1 - x


def _row_gain(x: Images, rng: Generator) -> NDArray[np.floating]:
    return x * ROW_GAINS[:, None]


def _column_permutation(x: Images, rng: Generator) -> NDArray[np.floating]:
    return x[..., COLUMN_ORDER]


def _checkerboard(x: Images, rng: Generator) -> NDArray[np.floating]:
    return np.abs(x - CHECKERBOARD)


def _blurred_noise(x: Images, rng: Generator) -> NDArray[np.floating]:
    blurred = gaussian_filter(x, sigma=(0, 0, BLUR_SIGMA, BLUR_SIGMA))
    noisy: NDArray[np.floating] = blurred + BLUR_NOISE * rng.standard_normal(x.shape)
    return noisy


def _parity(x: Images, rng: Generator) -> NDArray[np.floating]:
    return x


TARGETS: dict[str, Callable[[Images, Generator], NDArray[np.floating]]] = {
    "inverted": _inverted,
    "row-gain": _row_gain,
    "column-permutation": _column_permutation,
    "checkerboard": _checkerboard,
    "blurred-noise": _blurred_noise,
    "parity": _parity,
}
