import numpy as np
import pytest

from overparam.theory import (
    FAMILIES,
    family_draws,
    family_variances,
    prune_variance,
    raw_kurtosis,
    rps_variance,
    vector_variances,
)


def test_a_row_per_vector():
    x = np.random.Generator(np.random.Philox(key=1)).normal(size=(5, 12))
    rows = vector_variances("draws", x, 4)
    for row, vector in zip(rows, x, strict=True):
        assert row.source == "draws"
        assert row.kurtosis == pytest.approx(float(raw_kurtosis(vector)), rel=1e-12)
        assert row.var_prune == pytest.approx(float(prune_variance(vector, vector, 4)), rel=1e-12)
        assert row.var_rps == pytest.approx(float(rps_variance(vector, vector, 4)), rel=1e-12)


def test_a_row_per_family_with_the_closed_form_of_its_means():
    n, m = 512, 32
    rows = family_variances(m, n=n, draws=300, seed=2)
    assert [row.source for row in rows] == list(FAMILIES)
    for row in rows:
        kurtosis, _ = FAMILIES[row.source]
        x = family_draws(row.source, 300, n, 2)
        scale = n * (n - m) / m * float((x**2).mean()) ** 2
        assert row.kurtosis == kurtosis
        # 300 draws are too few for the fourth moment of a heavy tail: there the sample's own.
        spread = np.var(x**2, axis=1, ddof=1).mean()
        assert row.var_prune == pytest.approx(n * (n - m) / m * spread, rel=1e-9)
        if kurtosis < 4:
            assert row.var_prune == pytest.approx(scale * (kurtosis - 1), rel=0.05, abs=1e-9)
        assert row.var_rps == pytest.approx(2 * scale, rel=0.06)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: vector_variances("x", np.ones(4), 2), r"shape \(4,\)"),
        (lambda: vector_variances("x", np.zeros((2, 4)), 2), "zeros"),
        (lambda: vector_variances("x", np.ones((2, 4)), 5), r"1\.\.4"),
        (lambda: family_variances(2, n=4, draws=0, seed=0), "draws is 0"),
        (lambda: family_variances(5, n=4, draws=2, seed=0), r"1\.\.4"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
