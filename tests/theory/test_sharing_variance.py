import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overparam.theory.sharing_variance import prune_variance, raw_kurtosis, rps_variance

N, M, DRAWS = 24, 6, 200_000


def vectors(seed):
    rng = np.random.Generator(np.random.Philox(key=seed))
    return rng.normal(size=N), rng.normal(size=N) + 0.5, rng


def test_pruning_variance_against_simulation():
    x, y, rng = vectors(0)
    chosen = np.argpartition(rng.random((DRAWS, N)), M, axis=1)[:, :M]
    estimates = N / M * (x * y)[chosen].sum(1)
    assert estimates.var() == pytest.approx(float(prune_variance(x, y, M)), rel=0.02)
    assert estimates.mean() == pytest.approx(x @ y, abs=5 * estimates.std() / DRAWS**0.5)


@pytest.mark.parametrize("n", [24, 22])
@pytest.mark.parametrize("same", [True, False])
def test_sharing_variance_against_simulation(n, same):
    x, y, rng = vectors(1)
    x, y = x[:n], x[:n] if same else y[:n]
    piece, within = np.divmod(np.arange(n), M)
    estimates = np.empty(DRAWS)
    for part in np.split(np.arange(DRAWS), 20):
        shifts = rng.integers(M, size=(len(part), 4))
        bucket = (shifts[:, piece] + within) % M
        signs = rng.integers(2, size=(len(part), n)) * 2 - 1
        index = np.arange(len(part))[:, None] * M + bucket
        a, b = (
            np.bincount(index.ravel(), (signs * v).ravel(), len(part) * M).reshape(-1, M)
            for v in (x, y)
        )
        estimates[part] = (a * b).sum(1)
    assert estimates.var() == pytest.approx(float(rps_variance(x, y, M)), rel=0.02)
    assert estimates.mean() == pytest.approx(x @ y, abs=5 * estimates.std() / DRAWS**0.5)


@given(n=st.integers(2, 30), seed=st.integers(0, 500), data=st.data())
@settings(max_examples=60, deadline=None)
def test_sharing_variance_equals_the_sum_over_pairs(n, seed, data):
    m = data.draw(st.integers(1, n))
    rng = np.random.Generator(np.random.Philox(key=seed))
    x, y = rng.normal(size=(2, n))
    pairs = sum(
        (x[i] * y[j] + x[j] * y[i]) ** 2
        for i in range(n)
        for j in range(i + 1, n)
        if i // m != j // m
    )
    assert float(rps_variance(x, y, m)) == pytest.approx(pairs / m, rel=1e-9, abs=1e-9)


def test_everything_kept_means_no_variance():
    x, y, _ = vectors(2)
    assert prune_variance(x, y, N) == 0 and rps_variance(x, y, N) == 0


def test_batches_of_vectors():
    x = np.arange(48.0).reshape(2, 24)
    assert rps_variance(x, x, 6).shape == (2,)
    assert rps_variance(x, x, 6)[1] == pytest.approx(rps_variance(x[1], x[1], 6))
    assert prune_variance(x, x, 6)[1] == pytest.approx(prune_variance(x[1], x[1], 6))
    assert raw_kurtosis(x).shape == (2,)


@pytest.mark.parametrize(
    ("family", "kurtosis", "prune", "share"),
    [("uniform", 1.8, 12306, 30841), ("normal", 3, 30584, 30536), ("laplace", 6, 76297, 30433)],
)
def test_kurtosis_decides(family, kurtosis, prune, share):
    n, m, draws = 1024, 64, 400
    rng = np.random.Generator(np.random.Philox(key=5))
    x = getattr(rng, family)(*((-1, 1) if family == "uniform" else ()), size=(draws, n))
    x /= x.std()
    scale = n * (n - m) / m
    means = prune_variance(x, x, m).mean(), rps_variance(x, x, m).mean()
    assert means == pytest.approx([scale * (kurtosis - 1), scale * 2], rel=0.05)
    assert means == pytest.approx([prune, share], rel=0.05)
    assert raw_kurtosis(x).mean() == pytest.approx(kurtosis, rel=0.05)


def test_a_constant_vector_is_the_case_for_pruning():
    x = np.full(64, 0.7)
    assert float(prune_variance(x, x, 8)) == pytest.approx(0, abs=1e-12)
    assert float(rps_variance(x, x, 8)) > 1
    assert float(raw_kurtosis(x)) == pytest.approx(1)


def test_sharing_wins_on_most_raw_digits():
    from sklearn.datasets import load_digits

    x = load_digits().data / 16
    better = rps_variance(x, x, 8) < prune_variance(x, x, 8)
    assert 0.7 < better.mean() < 0.9


@pytest.mark.parametrize(
    ("x", "y", "m", "message"),
    [
        (np.ones(4), np.ones(5), 2, r"\(4,\), y \(5,\)"),
        (np.ones(1), np.ones(1), 1, "n >= 2"),
        (np.ones(4), np.ones(4), 0, "m is 0"),
        (np.ones(4), np.ones(4), 5, "1..4"),
        (np.array([1.0, np.nan]), np.ones(2), 1, "finite"),
    ],
)
@pytest.mark.parametrize("variance", [prune_variance, rps_variance])
def test_bad_input(variance, x, y, m, message):
    with pytest.raises(ValueError, match=message):
        variance(x, y, m)


def test_kurtosis_of_nothing():
    with pytest.raises(ValueError, match="zeros"):
        raw_kurtosis(np.zeros(5))
