"""Three parts, wrong labels in the first one alone."""

import numpy as np
import pytest

from overparam.datasets import digits, mnist1d, noisy_parts

SIZES = {"train_size": 60, "val_size": 30}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    x = np.random.default_rng(0).normal(3.0, 2.0, size=(120, 2, 3))
    path = tmp_path_factory.mktemp("own") / "own.npz"
    np.savez(path, x=x, y=np.arange(120) % 3)
    return path, x


def rows(*parts):
    return np.concatenate([part.x.reshape(len(part.y), -1) for part in parts])


@pytest.mark.parametrize("source", ["digits", "mnist1d", "own"])
def test_noise_changes_so_many_training_labels_and_nothing_else(source, own):
    file = own[0] if source == "own" else None
    clean, noisy = (
        noisy_parts(source, **SIZES, noise=rate, seed=3, file=file) for rate in (0, 0.2)
    )
    assert list(noisy) == ["train", "val", "test"]
    changed = clean["train"].y != noisy["train"].y
    assert changed.sum() == 12
    classes = 1 + max(part.y.max() for part in clean.values())
    assert set(noisy["train"].y) <= set(range(classes))
    for name, part in clean.items():
        assert np.array_equal(part.x, noisy[name].x) and part.meta == noisy[name].meta
    for name in ("val", "test"):
        assert np.array_equal(clean[name].y, noisy[name].y)
    assert [len(noisy[name].y) for name in ("train", "val")] == [60, 30]
    again, other = (noisy_parts(source, **SIZES, noise=0.2, seed=s, file=file) for s in (3, 4))
    assert np.array_equal(again["train"].y, noisy["train"].y)
    assert not np.array_equal(other["train"].x, noisy["train"].x)


def test_digits_are_shared_out_once():
    parts = noisy_parts("digits", **SIZES, seed=0)
    whole = digits()
    found = np.column_stack([rows(*parts.values()), np.concatenate([p.y for p in parts.values()])])
    expected = np.column_stack([whole.x / 16, whole.y])
    ordered = [table[np.lexsort(table.T)] for table in (found, expected)]
    assert np.array_equal(*ordered)
    assert parts["val"].meta == whole.meta and parts["train"].x.dtype == np.float32
    # Class shares are kept.
    assert (np.bincount(parts["train"].y, minlength=10) == 6).all()


def test_signals_are_those_of_the_generator():
    parts = noisy_parts("mnist1d", **SIZES, seed=5)
    data = mnist1d(90, 1000, seed=5)
    assert np.array_equal(parts["test"].x, data.x_test)
    assert np.array_equal(parts["test"].y, data.y_test)
    both = rows(parts["train"], parts["val"])
    assert np.array_equal(np.sort(both, axis=0), np.sort(data.x_train, axis=0))


def test_own_inputs_are_standardised_over_the_training_part(own):
    path, x = own
    parts = noisy_parts("own", **SIZES, noise=0.5, seed=1, file=path)
    assert np.allclose(parts["train"].x.mean(0), 0) and np.allclose(parts["train"].x.std(0), 1)
    assert abs(parts["test"].x.mean()) > 1e-3
    assert parts["test"].x.shape == (30, 2, 3) and parts["test"].meta["file"] == "own.npz"
    # One map per feature, the same for every part, takes these back to the file's values.
    found = rows(*parts.values())
    order, original = np.argsort(found, axis=0), np.sort(x.reshape(120, -1), axis=0)
    for feature, column in enumerate(order.T):
        values = found[column, feature]
        slope, shift = np.polyfit(values, original[:, feature], 1)
        assert np.allclose(slope * values + shift, original[:, feature])


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("cifar", {}, "source='cifar'; allowed: digits, mnist1d, own"),
        ("own", {}, "own needs a file"),
        ("mnist1d", {"file": "x.npz"}, "mnist1d takes none"),
        ("digits", {"noise": 1.5}, "rate=1.5"),
        ("digits", {"train_size": 1790}, r"sizes=\(1790, 30, -1\)"),
        ("digits", {"seed": -1}, "seed=-1"),
    ],
)
def test_bad_input(source, options, message):
    with pytest.raises(ValueError, match=message):
        noisy_parts(source, **{**SIZES, "seed": 0, **options})
