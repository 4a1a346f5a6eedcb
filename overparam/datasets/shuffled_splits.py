"""Small image problems, and copies of them with their pixels or training labels in random order."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from overparam.datasets.containers import Labelled, Split
from overparam.datasets.digits import digits
from overparam.datasets.labels import permuted_labels
from overparam.datasets.mnist1d import mnist1d
from overparam.datasets.own_images import read_images
from overparam.datasets.splits import permutation, stratified_split

SHUFFLED_SOURCES = ("digits", "shuffled-pixels", "shuffled-labels", "mnist1d", "own")
"""The problems that :func:`shuffled_splits` knows."""


def shuffled_splits(
    source: str,
    seeds: Sequence[int],
    *,
    train_size: int,
    test_size: int = 1000,
    pixel_order: int = 0,
    digits_file: Path | None = None,
    images: str | Path | None = None,
    labels: str | Path | None = None,
) -> dict[int, Split]:
    """Splits of a problem, one per seed.

    - ``digits``: scikit-learn's, pixels / 16, x (N, 64);
    - ``shuffled-pixels``: the same digits, the pixels of all of them in one order: fully connected
      nets are indifferent to it, convolutional ones lose their advantage;
    - ``shuffled-labels``: the same digits, the training labels permuted: they can only be learned
      by heart (Zhang, Bengio, Hardt, Recht and Vinyals 2017, section 2; Li et al. 2018, section 3);
    - ``mnist1d``: signals x (N, 40), drawn from the seed;
    - ``own``: the user's images, x (N, C, H, W).

    But for mnist1d the training set has the class shares of the whole, and the rest is for testing.

    Args:
        source: one of `SHUFFLED_SOURCES`.
        seeds: of the splits and of the labels' orders.
        train_size: training samples.
        test_size: test samples of mnist1d.
        pixel_order: seed of the order of pixels.
        digits_file: by default scikit-learn's.
        images: for own, see :func:`read_images`.
        labels: likewise.

    Raises:
        ValueError: an unknown source, ``own`` without files, as many training samples as there are,
            a negative seed; what :func:`read_images` refuses.

    Example:
        >>> split = shuffled_splits("shuffled-labels", [3], train_size=1200)[3]
        >>> split.x_train.shape, split.y_test.shape
        ((1200, 64), (597,))
    """
    if source not in SHUFFLED_SOURCES:
        raise ValueError(f"source={source!r}; allowed: {', '.join(SHUFFLED_SOURCES)}")
    if source == "mnist1d":
        return {seed: mnist1d(train_size, test_size, seed=seed) for seed in seeds}
    if source == "own":
        if images is None or labels is None:
            raise ValueError(f"images={images}, labels={labels}; source 'own' needs both files")
        data = read_images(images, labels)
    else:
        raw = digits(digits_file)
        data = replace(raw, x=raw.x / 16)
    if source == "shuffled-pixels":
        data = replace(data, x=data.x[:, permutation(data.x.shape[1], pixel_order)])
    return {seed: _split(data, train_size, seed, source == "shuffled-labels") for seed in seeds}


def _split(data: Labelled, train_size: int, seed: int, shuffle_labels: bool) -> Split:
    train, test = stratified_split(data.y, (train_size, -1), seed)
    labels = permuted_labels(data.y[train], seed) if shuffle_labels else data.y[train]
    return Split(data.x[train], labels, data.x[test], data.y[test], data.meta)
