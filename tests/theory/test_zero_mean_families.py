import numpy as np
import pytest

from overparam.theory.zero_mean_families import FAMILIES, family_draws


@pytest.mark.parametrize("family", FAMILIES)
def test_mean_and_kurtosis_are_those_stated(family):
    x = family_draws(family, 400, 2500, seed=0)
    deviation = x.std()
    assert abs(x.mean()) < 5 * deviation / np.sqrt(x.size)
    kurtosis = (x**4).mean() / (x**2).mean() ** 2
    assert kurtosis == pytest.approx(FAMILIES[family][0], rel=0.06)


def test_same_seed_same_draws():
    assert np.array_equal(family_draws("laplace", 2, 5, 3), family_draws("laplace", 2, 5, 3))
    assert not np.array_equal(family_draws("laplace", 2, 5, 3), family_draws("laplace", 2, 5, 4))


def test_unknown_family_is_refused():
    with pytest.raises(ValueError, match=r"cauchy.*laplace"):
        family_draws("cauchy", 1, 1, 0)
