import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset

from overparam.datasets import (
    IndexedDataset,
    Standardizer,
    digits,
    permutation,
    permuted_labels,
    stratified_split,
    uniform_label_noise,
)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_splits_are_disjoint_exact_and_stratified(data, seed):
    y = np.array(data.draw(st.lists(st.integers(0, 4), min_size=3, max_size=60)))
    first = data.draw(st.integers(1, len(y) - 2))
    second = data.draw(st.integers(1, len(y) - first - 1))
    a, b, rest = stratified_split(y, (first, second, -1), seed)
    assert (len(a), len(b), len(rest)) == (first, second, len(y) - first - second)
    assert np.array_equal(np.sort(np.concatenate([a, b, rest])), np.arange(len(y)))
    left = np.arange(len(y))
    for part in (a, b):
        for label in np.unique(y):
            share = (y[left] == label).sum() * len(part) / len(left)
            assert abs((y[part] == label).sum() - share) < 1
        left = np.setdiff1d(left, part)


def test_split_is_seeded_and_shuffled_within():
    y = digits().y
    (a,), (b,), (c,) = (stratified_split(y, (1000,), s) for s in (0, 0, 1))
    assert np.array_equal(a, b) and not np.array_equal(a, c)
    assert np.abs(np.diff(y[a])).astype(bool).mean() > 0.8


def test_permutation():
    assert np.array_equal(np.sort(permutation(50, 3)), np.arange(50))
    assert np.array_equal(permutation(50, 3), permutation(50, 3))
    assert not np.array_equal(permutation(50, 3), permutation(50, 4))


def test_noise_is_exact_in_count_and_uniform_over_the_other_classes():
    y = np.repeat(np.arange(5), 4000)
    noisy, flipped = uniform_label_noise(y, 0.2, 5, seed=1)
    assert flipped.sum() == 4000 and np.array_equal(noisy != y, flipped)
    table = np.zeros((5, 5))
    np.add.at(table, (y[flipped], noisy[flipped]), 1)
    assert np.diag(table).sum() == 0
    assert np.abs(table[~np.eye(5, dtype=bool)] - 200).max() < 5 * 200**0.5
    clean, none = uniform_label_noise(y, 0.0, 5, seed=1)
    assert np.array_equal(clean, y) and not none.any()
    assert uniform_label_noise(y, 1.0, 5, seed=1)[1].all()


def test_permuted_labels_keep_the_counts():
    y = digits().y
    shuffled = permuted_labels(y, 0)
    assert np.array_equal(np.bincount(y), np.bincount(shuffled))
    assert abs((y == shuffled).mean() - 0.1) < 0.03


def test_standardizer_equals_scikit_learn_and_never_looks_at_the_test_set():
    x = digits().x
    scaler, ours = StandardScaler().fit(x[:1000].astype(float)), Standardizer.fit(x[:1000])
    np.testing.assert_allclose(ours(x[1000:]), scaler.transform(x[1000:]), atol=1e-4)
    assert ours(x).dtype == np.float32
    constant = Standardizer.fit(np.full((7, 2), 0.1))
    assert np.abs(constant(np.full((1, 2), 0.1))).max() < 1e-15
    assert constant.scale.tolist() == [[1, 1]]


def test_standardizer_by_channel():
    x = np.random.Generator(np.random.Philox(0)).normal(3, 2, (50, 2, 4, 4))
    z = Standardizer.fit(x, axis=(0, 2, 3))(x)
    np.testing.assert_allclose(z.mean((0, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(z.std((0, 2, 3)), 1, atol=1e-12)


def test_indexed_dataset_knows_positions_under_shuffling():
    x, y = torch.arange(30.0), torch.arange(30) % 3
    loader = DataLoader(
        IndexedDataset(TensorDataset(x, y)),
        batch_size=7,
        shuffle=True,
        generator=torch.Generator().manual_seed(0),
    )
    seen = []
    for xs, ys, index in loader:
        assert torch.equal(x[index], xs) and torch.equal(y[index], ys)
        seen += index.tolist()
    assert sorted(seen) == list(range(30)) and seen != sorted(seen)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stratified_split([0, 1], (3,), 0), "for 2 samples"),
        (lambda: stratified_split([0, 1], (2, -1), 0), "numbers >= 1"),
        (lambda: stratified_split([0, 1], (), 0), "numbers >= 1"),
        (lambda: stratified_split([[0, 1]], (1,), 0), r"expected \(N,\)"),
        (lambda: stratified_split([0, 1], (1,), -1), "seed=-1"),
        (lambda: permutation(-1, 0), "n=-1"),
        (lambda: uniform_label_noise([0, 1], 1.5, 2, 0), "rate=1.5"),
        (lambda: uniform_label_noise([0, 1], 0.5, 1, 0), "n_classes=1"),
        (lambda: uniform_label_noise([0, 2], 0.5, 2, 0), r"labels 0..2; allowed 0..1"),
        (lambda: uniform_label_noise([0.0], 0.5, 2, 0), "float64"),
        (lambda: permuted_labels([0], -1), "seed=-1"),
        (lambda: Standardizer.fit(np.zeros((0, 3))), "N >= 1"),
        (lambda: Standardizer.fit(np.array([[np.nan], [1.0]])), "1 values that are not finite"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_indexed_dataset_refuses_streams_and_foreign_positions():
    with pytest.raises(TypeError, match="generator"):
        IndexedDataset(i for i in range(3))
    with pytest.raises(IndexError, match=r"allowed 0..2"):
        IndexedDataset([(1,), (2,), (3,)])[3]
