"""The balance-breaking step: what it keeps and what it changes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overparam.training.balance_break import balance_break_step, estimate_sigma_r


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 5), st.integers(0, 6), st.integers(1, 9), st.floats(0.05, 20), st.integers(0, 99)
)
def test_product_is_kept_and_the_first_gram_matrix_becomes_a_multiple_of_the_identity(
    k, extra, n2, beta, seed
):
    rng = np.random.default_rng(seed)
    F, G = rng.standard_normal((3, k + extra, k)), rng.standard_normal((3, n2, k))
    F[1, :, -1] = F[1, :, 0]  # rank-deficient for k > 1
    F[2] = 0
    new_F, new_G = balance_break_step(F, G, beta)
    product = F @ G.swapaxes(-1, -2)
    change = np.linalg.norm(new_F @ new_G.swapaxes(-1, -2) - product, axis=(-2, -1))
    assert (change <= 1e-12 * np.linalg.norm(product, axis=(-2, -1))).all()
    gram = new_F.swapaxes(-1, -2) @ new_F
    np.testing.assert_allclose(
        gram, np.broadcast_to(beta**2 * np.eye(k), gram.shape), atol=1e-12 * beta**2
    )


def test_each_member_may_have_its_own_beta_and_precision_is_kept():
    rng = np.random.default_rng(0)
    F, G = (rng.standard_normal((2, 5, 2)).astype(np.float32) for _ in range(2))
    new_F, new_G = balance_break_step(F, G, [0.5, 2.0])
    assert new_F.dtype == new_G.dtype == np.float32
    np.testing.assert_allclose(
        np.linalg.svd(new_F, compute_uv=False), [[0.5, 0.5], [2, 2]], rtol=1e-6
    )


def test_sigma_r_is_read_off_the_product_and_foreign_directions_do_not_count():
    rng = np.random.default_rng(1)
    U, V = (np.linalg.qr(rng.standard_normal((9, 4)))[0] for _ in range(2))
    F, G = U * [1.0, 0.6, 0.15, 0.01], V
    assert estimate_sigma_r(F, G) == pytest.approx(0.15)
    assert estimate_sigma_r(F, G, error=0.12) == pytest.approx(0.6)
    assert estimate_sigma_r(F, G, error=0.08) == pytest.approx(0.15)
    assert estimate_sigma_r(F, G, error=5.0) == pytest.approx(1.0)
    assert estimate_sigma_r(F, G, threshold=0.005) == pytest.approx(0.01)
    both = estimate_sigma_r(np.stack([F, 2 * F]), np.stack([G, G]), error=[0.0, 0.25])
    np.testing.assert_allclose(both, [0.15, 1.2])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: balance_break_step(np.ones((2, 3)), np.ones((4, 3)), 1.0), ValueError, "rows"),
        (lambda: balance_break_step(np.ones((4, 2)), np.ones((4, 3)), 1.0), ValueError, "one k"),
        (lambda: balance_break_step(np.ones((4, 2)), np.ones((4, 2)), 0.0), ValueError, "beta"),
        (
            lambda: balance_break_step(np.full((4, 2), np.nan), np.ones((4, 2)), 1.0),
            ValueError,
            "finite",
        ),
        (
            lambda: balance_break_step(np.ones((4, 2), complex), np.ones((4, 2)), 1.0),
            TypeError,
            "real",
        ),
        (
            lambda: estimate_sigma_r(np.ones((4, 2)), np.ones((4, 2)), threshold=1.0),
            ValueError,
            "threshold",
        ),
    ],
)
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
