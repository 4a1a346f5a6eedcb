import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
from scipy.interpolate import interp1d

from overparam.datasets import digits, mnist1d
from overparam.datasets.mnist1d import GLYPHS


def test_digits_are_the_file_that_meta_names():
    data = digits()
    file = Path(sklearn.datasets.__file__).parents[2] / data.meta["file"]
    assert data.meta["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    with gzip.open(file, "rt") as stream:
        table = np.loadtxt(stream, delimiter=",")
    assert np.array_equal(data.x, table[:, :-1]) and np.array_equal(data.y, table[:, -1])
    assert data.x.dtype == np.float32 and data.y.dtype == np.int64
    assert (data.x.min(), data.x.max()) == (0, 16)
    assert {"source", "package", "version", "licence"} <= data.meta.keys()


def test_mnist1d_shapes_classes_and_training_statistics():
    data = mnist1d(400, 103, seed=3)
    assert data.x_train.shape == (400, 40) and data.x_test.shape == (103, 40)
    counts = np.bincount(np.concatenate([data.y_train, data.y_test]), minlength=10)
    assert counts.max() - counts.min() == 1
    assert abs(data.x_train.mean()) < 1e-5 and abs(data.x_train.std() - 1) < 1e-5


def test_mnist1d_depends_on_the_seed_alone():
    a, b, c = mnist1d(50, 10, seed=3), mnist1d(50, 10, seed=3), mnist1d(50, 10, seed=4)
    assert np.array_equal(a.x_train, b.x_train) and np.array_equal(a.y_test, b.y_test)
    assert not np.array_equal(a.x_train, c.x_train)


def test_mnist1d_without_randomness_is_the_glyph_resampled():
    """No noise, shift or shear and a fixed padding: interpolate twice, as the paper tells."""
    data = mnist1d(
        100,
        0,
        seed=0,
        padding=(40, 40),
        scale=0,
        max_translation=1,
        correlated_noise=0,
        iid_noise=0,
        shear=0,
    )
    expected = []
    for glyph in GLYPHS:
        whitened = (glyph - glyph.mean()) / glyph.std()
        signal = np.concatenate([whitened - whitened[0], np.zeros(40)]) / 6
        for points in (52, 40):
            old, new = np.linspace(0, 1, len(signal)), np.linspace(0, 1, points)
            signal = interp1d(old, signal)(new)
        expected.append(signal)
    expected = np.array(expected)[data.y_train]
    expected = (expected - expected.mean()) / expected.std()
    np.testing.assert_allclose(data.x_train, expected, atol=1e-5)


@pytest.mark.parametrize(("pad", "where"), [(36, 12 / 48), (60, 12 / 72)])
def test_mnist1d_padding_stretches_the_glyph(pad, where):
    quiet = {"scale": 0, "correlated_noise": 0, "iid_noise": 0, "shear": 0}
    data = mnist1d(10, 0, seed=0, padding=(pad, 60), max_translation=1, length=72, **quiet)
    wide = mnist1d(10, 0, seed=0, padding=(pad, pad), max_translation=1, length=720, **quiet)
    background = wide.x_train[0, -1]
    last = np.flatnonzero(np.abs(wide.x_train - background).max(0) > 1e-3).max()
    assert abs(last / 719 - where) < 0.03 and data.x_train.shape == (10, 72)


def test_mnist1d_translation_rolls_and_scale_and_shear_have_the_stated_ranges():
    quiet = {"correlated_noise": 0, "iid_noise": 0, "padding": (36, 36), "length": 48}
    rolled = mnist1d(500, 0, seed=1, scale=0, shear=0, max_translation=48, **quiet)
    starts = set()
    for signal in rolled.x_train[rolled.y_train == 0]:
        starts.add(int(np.argmax(signal)))
    assert len(starts) > 25
    scaled = mnist1d(2000, 0, seed=1, scale=0.4, shear=0, max_translation=1, **quiet)
    heights = np.ptp(scaled.x_train[scaled.y_train == 0], axis=1)
    assert heights.max() / heights.min() == pytest.approx(1.2 / 0.8, rel=0.02)
    flat = mnist1d(2000, 0, seed=1, scale=0, shear=0.75, max_translation=1, **quiet)
    zeros = flat.x_train[:, 14:]  # background, a line now
    slopes = np.diff(zeros, axis=1).mean(1) * 47
    still = mnist1d(2000, 0, seed=1, scale=0, shear=0, max_translation=1, **quiet)
    unit = np.ptp(flat.x_train - slopes[:, None] * np.linspace(-0.5, 0.5, 48), axis=1).max()
    unit /= np.ptp(still.x_train, axis=1).max()
    raw = np.ptp(still.x_train, axis=1).max()
    glyphs = (GLYPHS - GLYPHS.mean(1, keepdims=True)) / GLYPHS.std(1, keepdims=True)
    largest = np.ptp(glyphs / 6, axis=1).max()
    np.testing.assert_allclose(np.ptp(slopes) / (unit * raw) * largest, 0.75, rtol=0.03)


def test_mnist1d_shuffles_positions_alike_for_all_signals():
    plain, shuffled = (mnist1d(60, 9, seed=2, shuffle_positions=s) for s in (False, True))
    columns = np.array(
        [np.abs(plain.x_train - column[:, None]).sum(0).argmin() for column in shuffled.x_train.T]
    )
    assert sorted(columns) == list(range(40)) and not np.array_equal(columns, np.arange(40))
    np.testing.assert_allclose(shuffled.x_test, plain.x_test[:, columns], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_train": 1}, "n_train=1"),
        ({"seed": -1}, "seed=-1"),
        ({"length": 1}, "length=1"),
        ({"padding": (5, 4)}, r"padding=\(5, 4\)"),
        ({"max_translation": 73}, r"allowed 1..72"),
        ({"iid_noise": float("nan")}, "iid_noise=nan"),
        ({"shear": -1.0}, "shear=-1.0"),
    ],
)
def test_bad_input(change, message):
    with pytest.raises(ValueError, match=message):
        mnist1d(**({"n_train": 20, "n_test": 5, "seed": 0} | change))
