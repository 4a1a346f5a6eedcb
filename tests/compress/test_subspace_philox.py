"""Philox streams: fixed words, right laws, right errors."""

import numpy as np
import pytest
from scipy import stats

from overparam.compress.subspace.philox import PhiloxStream


def test_words_are_numpys_philox_with_that_key() -> None:
    expected = np.random.Philox(key=41).random_raw(5)
    assert (PhiloxStream(41).words(5) == expected).all()
    both = np.random.Philox(key=np.array([41, 9], dtype=np.uint64)).random_raw(5)
    assert (PhiloxStream(41, 9).words(5) == both).all()


def test_draws_are_pinned() -> None:
    """Saved files hold seeds: these numbers may never change."""
    stream = PhiloxStream(0)
    assert stream.signs(8).tolist() == [1, -1, -1, 1, 1, -1, 1, 1]
    assert stream.permutation(6).tolist() == [1, 0, 4, 3, 2, 5]
    np.testing.assert_allclose(
        stream.normals(3), [2.199146493961352, -0.6625083569983289, -0.8594339402146327], rtol=1e-12
    )
    assert PhiloxStream(0).successes(50, 0.1).tolist() == [42]


def test_laws() -> None:
    stream = PhiloxStream(3)
    assert stats.kstest(stream.uniforms(20_000), "uniform").pvalue > 1e-3
    assert stats.kstest(stream.normals(20_000), "norm").pvalue > 1e-3
    assert abs(stream.signs(20_000).mean()) < 4 / np.sqrt(20_000)
    orders = np.array([stream.permutation(3) @ [9, 3, 1] for _ in range(6000)])
    assert stats.chisquare(np.unique(orders, return_counts=True)[1]).pvalue > 1e-3
    assert len(np.unique(orders)) == 6


@pytest.mark.parametrize("probability", [0.003, 0.2, 0.9])
def test_successes_are_bernoulli(probability: float) -> None:
    hits = PhiloxStream(5).successes(100_000, probability)
    assert (np.diff(hits) > 0).all()
    assert hits[0] >= 0
    assert hits[-1] < 100_000
    # Count of the whole, and of tenths, against the binomial law.
    assert stats.binomtest(len(hits), 100_000, probability).pvalue > 1e-3
    tenths = np.histogram(hits, bins=10, range=(0, 100_000))[0]
    spread = np.square(tenths - 1e4 * probability).sum() / (1e4 * probability * (1 - probability))
    assert 1e-3 < stats.chi2(10).sf(spread) < 1 - 1e-3


def test_successes_at_the_ends() -> None:
    assert PhiloxStream(0).successes(4, 1.0).tolist() == [0, 1, 2, 3]
    assert PhiloxStream(0).successes(1, 1e-9).tolist() == []


def test_uniforms_never_touch_zero_or_one() -> None:
    class Extremes:
        def random_raw(self, count: int) -> np.ndarray:
            return np.array([0, 2**64 - 1], dtype=np.uint64)

    stream = PhiloxStream(0)
    stream._generator = Extremes()  # type: ignore[assignment]
    low, high = stream.uniforms(2)
    assert 0.0 < low < high < 1.0
    assert np.isfinite(stream.normals(2)).all()


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_bad_keys(seed: int) -> None:
    with pytest.raises(ValueError, match="seed must lie"):
        PhiloxStream(seed)
    with pytest.raises(ValueError, match="stream must lie"):
        PhiloxStream(0, seed)


@pytest.mark.parametrize("seed", [1.0, True, "a"])
def test_keys_are_integers(seed: object) -> None:
    with pytest.raises(TypeError, match="seed must be an integer"):
        PhiloxStream(seed)  # type: ignore[arg-type]
