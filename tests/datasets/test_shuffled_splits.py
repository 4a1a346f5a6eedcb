"""Shuffled copies hold the same pixels and labels; own images come with channels first."""

import numpy as np
import pytest

from overparam.datasets import digits, mnist1d, read_images, shuffled_splits


def split(source: str, seed: int = 3, **options):
    return shuffled_splits(source, [seed], train_size=120, **options)[seed]


def test_pixels_of_all_images_lie_in_one_order() -> None:
    plain, other = split("digits"), split("shuffled-pixels", pixel_order=2)
    # A digit has 64 columns of values; in the copy each column stands elsewhere, as a whole.
    columns = {
        c.tobytes(): i for i, c in enumerate(np.concatenate([plain.x_train, plain.x_test]).T)
    }
    moved = [c.tobytes() for c in np.concatenate([other.x_train, other.x_test]).T]
    assert sorted(moved) == sorted(c for c in moved if c in columns)
    assert np.array_equal(np.sort(plain.x_train, 1), np.sort(other.x_train, 1))
    assert not np.array_equal(plain.x_train, other.x_train)
    assert np.array_equal(plain.y_train, other.y_train)
    again, another = (split("shuffled-pixels", pixel_order=order) for order in (2, 3))
    assert np.array_equal(other.x_test, again.x_test)
    assert not np.array_equal(other.x_test, another.x_test)
    own = shuffled_splits("shuffled-pixels", [3, 4], train_size=120, pixel_order=2)
    assert np.array_equal(own[3].x_test, other.x_test)
    # The order is the same for every seed: pixels that are never set stay where they were put.
    never = [
        np.flatnonzero(np.concatenate([s.x_train, s.x_test]).max(0) == 0) for s in own.values()
    ]
    assert len(never[0]) and np.array_equal(*never)


def test_only_training_labels_are_permuted() -> None:
    plain, other = split("digits"), split("shuffled-labels")
    assert np.array_equal(plain.x_train, other.x_train) and np.array_equal(
        plain.y_test, other.y_test
    )
    assert (plain.y_train != other.y_train).mean() > 0.7
    assert np.array_equal(np.bincount(plain.y_train), np.bincount(other.y_train))


def test_digits_are_scaled_and_all_used() -> None:
    found = split("digits")
    assert len(found.y_train) == 120 and len(found.y_test) == 1797 - 120
    assert found.x_train.max() == 1 and found.x_train.dtype == np.float32
    assert np.array_equal(
        np.bincount(np.concatenate([found.y_train, found.y_test])), np.bincount(digits().y)
    )
    assert found.meta["package"] == "scikit-learn"


def test_signals_are_those_of_the_seed() -> None:
    found, expected = split("mnist1d", test_size=30), mnist1d(120, 30, seed=3)
    assert np.array_equal(found.x_test, expected.x_test) and found.x_test.shape == (30, 40)


def test_own_images(tmp_path) -> None:
    x = np.random.Generator(np.random.Philox(key=0)).random((160, 6, 7, 3))
    images, labels = tmp_path / "images.npy", tmp_path / "labels.npy"
    np.save(images, x)
    np.save(labels, np.arange(160) % 4)
    data = read_images(images, labels)
    assert data.x.shape == (160, 3, 6, 7) and data.x.dtype == np.float32
    assert data.x[9, 2, 5, 1] == np.float32(x[9, 5, 1, 2])
    found = split("own", images=images, labels=labels)
    assert found.x_train.shape == (120, 3, 6, 7) and found.x_test.shape == (40, 3, 6, 7)
    assert np.bincount(found.y_test).tolist() == [10] * 4
    np.save(images, x[..., 0])
    with pytest.raises(ValueError, match=r"\(160, 6, 7\); allowed: \(N, H, W, C\)"):
        split("own", images=images, labels=labels)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="'letters'; allowed: digits, shuffled-pixels"):
        split("letters")
    with pytest.raises(ValueError, match="needs both files"):
        split("own", images="images.npy")
    with pytest.raises(ValueError, match="sizes="):
        shuffled_splits("digits", [0], train_size=1797)
