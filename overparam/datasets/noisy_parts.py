"""Small classification tasks in three parts, with wrong labels in the training part alone."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from overparam.datasets.containers import Labelled
from overparam.datasets.digits import digits
from overparam.datasets.labels import uniform_label_noise
from overparam.datasets.mnist1d import mnist1d
from overparam.datasets.own import read_labelled
from overparam.datasets.splits import stratified_split
from overparam.datasets.standardize import Standardizer

Parts = dict[str, Labelled]

TEST_SIGNALS = 1000


def noisy_parts(
    source: str,
    *,
    train_size: int,
    val_size: int,
    noise: float = 0.0,
    seed: int,
    file: str | Path | None = None,
) -> Parts:
    """Training, validation and test samples of a task; some training labels are wrong.

    - ``digits``: scikit-learn's, pixels / 16, x (N, 64); what is left over is the test part;
    - ``mnist1d``: signals x (N, 40), standardised over training and validation together; 1000 test;
    - ``own``: a file that :func:`read_labelled` takes, standardised feature by feature over the
      training part; what is left over is the test part.

    The parts are disjoint, and have the class shares of all samples. Which samples and which labels
    they are depends on the seed; inputs, validation and test labels not on ``noise``.

    Args:
        source: one of `SOURCES`.
        train_size: training samples.
        val_size: validation samples.
        noise: share of training labels replaced by a wrong one, see :func:`uniform_label_noise`.
        seed: non-negative integer.
        file: of the digits (scikit-learn's by default) or the user's own.

    Returns:
        The parts train, val and test, each with the source's meta.

    Raises:
        ValueError: an unknown source, ``own`` without a file or ``mnist1d`` with one, more samples
            than there are, noise outside [0, 1].

    Example:
        >>> parts = noisy_parts("digits", train_size=300, val_size=200, noise=0.2, seed=0)
        >>> {name: part.x.shape for name, part in parts.items()}
        {'train': (300, 64), 'val': (200, 64), 'test': (1297, 64)}
    """
    if source not in SOURCES:
        raise ValueError(f"source={source!r}; allowed: {', '.join(SOURCES)}")
    if (source == "own" and file is None) or (source == "mnist1d" and file is not None):
        raise ValueError(f"source={source!r}, file={file}; own needs a file, mnist1d takes none")
    parts = SOURCES[source](train_size, val_size, seed, None if file is None else Path(file))
    classes = int(np.concatenate([part.y for part in parts.values()]).max()) + 1
    noisy, _ = uniform_label_noise(parts["train"].y, noise, classes, seed)
    return {**parts, "train": replace(parts["train"], y=noisy)}


def _digits(train_size: int, val_size: int, seed: int, file: Path | None) -> Parts:
    data = digits(file)
    return _divided(replace(data, x=data.x / 16), (train_size, val_size, -1), seed)


def _mnist1d(train_size: int, val_size: int, seed: int, file: Path | None) -> Parts:
    data = mnist1d(train_size + val_size, TEST_SIGNALS, seed=seed)
    known = Labelled(data.x_train, data.y_train, data.meta)
    parts = _divided(known, (train_size, -1), seed)
    return {**parts, "test": Labelled(data.x_test, data.y_test, data.meta)}


def _own(train_size: int, val_size: int, seed: int, file: Path | None) -> Parts:
    assert file is not None
    parts = _divided(read_labelled(file), (train_size, val_size, -1), seed)
    scale = Standardizer.fit(parts["train"].x)
    return {name: replace(part, x=scale(part.x)) for name, part in parts.items()}


def _divided(data: Labelled, sizes: tuple[int, ...], seed: int) -> Parts:
    rows = stratified_split(data.y, sizes, seed)
    named = zip(("train", "val", "test"), rows, strict=False)
    return {name: Labelled(data.x[row], data.y[row], data.meta) for name, row in named}


SOURCES: dict[str, Callable[[int, int, int, Path | None], Parts]] = {
    "digits": _digits,
    "mnist1d": _mnist1d,
    "own": _own,
}
