"""Sensing operators against their definition and against statistics known in closed form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overparam.datasets.matrix_sensing import (
    SensingOperator,
    load_sensing_problem,
    low_rank_ground_truth,
    positive_semidefinite,
)


def operators():
    return [
        SensingOperator((4, 6), 9, seed=1),
        SensingOperator((4, 6), 30, seed=1),
        SensingOperator((4, 6), kind="identity"),
        SensingOperator((4, 6), 9, seed=[1, 2, 3]),
        SensingOperator((4, 6), 30, seed=[1, 2, 3]),
    ]


@pytest.mark.parametrize("op", operators())
def test_forward_is_the_inner_product_with_each_sensing_matrix(op):
    rng = np.random.default_rng(0)
    lead = () if op.batch is None else (op.batch,)
    M = rng.standard_normal((*lead, 2, 4, 6))
    A = np.eye(24) if op.matrices is None else op.matrices
    A = np.broadcast_to(A, (*lead, op.m, 24)).reshape(*lead, op.m, 4, 6)
    expected = np.einsum("...mij,...rij->...rm", A, M)
    np.testing.assert_allclose(op.forward(M), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("op", operators())
def test_adjoint_and_normal_operator(op):
    rng = np.random.default_rng(1)
    lead = () if op.batch is None else (op.batch,)
    M, z = rng.standard_normal((*lead, 5, 4, 6)), rng.standard_normal((*lead, 5, op.m))
    left = (op.forward(M) * z).sum(-1)
    right = (M * op.adjoint(z)).sum((-2, -1))
    np.testing.assert_allclose(left, right, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(op.normal(M), op.adjoint(op.forward(M)), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("shape", [(6, 6), (5, 8)])
def test_gaussian_operator_is_isotropic_on_average(shape):
    m, draws = 60, 100 * shape[0] * shape[1] // 60 + 1
    M = np.random.default_rng(2).standard_normal(shape)
    op = SensingOperator(shape, m, seed=range(draws))
    mean = op.normal(np.broadcast_to(M, (draws, *shape))).mean(0)
    error = np.linalg.norm(mean - M) / np.linalg.norm(M)
    assert error < 1.5 * np.sqrt((shape[0] * shape[1] + 1) / (m * draws))


def test_the_operator_of_a_seed_does_not_depend_on_the_batch():
    single = SensingOperator((3, 5), 7, seed=4)
    batch = SensingOperator((3, 5), 7, seed=[9, 4])
    np.testing.assert_array_equal(single.matrices, batch.matrices[1])
    assert not np.array_equal(batch.matrices[0], batch.matrices[1])


def test_given_matrices_make_the_same_operator_one_by_one_or_as_a_batch():
    drawn = SensingOperator((4, 6), 9, seed=[1, 2])
    op = SensingOperator.from_matrices(drawn.matrices.reshape(2, 9, 4, 6))
    M = np.random.default_rng(0).standard_normal((2, 3, 4, 6))
    assert (op.batch, op.m, op.shape) == (2, 9, (4, 6))
    np.testing.assert_array_equal(op.normal(M), drawn.normal(M))
    with pytest.raises(ValueError, match="A must have shape"):
        SensingOperator.from_matrices(np.ones((3, 3)))


def test_only_symmetric_matrices_without_negative_eigenvalues_are_semidefinite():
    M = low_rank_ground_truth(5, 5, 2, symmetric=True, seed=0)
    assert positive_semidefinite(M) and positive_semidefinite(np.zeros((2, 2)))
    for other in (-M, M + np.triu(np.ones((5, 5)), 1), np.ones((2, 3)), np.full((2, 2), np.nan)):
        assert not positive_semidefinite(other)


def test_noise_of_a_seed_does_not_depend_on_the_others():
    op = SensingOperator((2, 3), kind="identity")
    M = np.zeros((2, 2, 3))
    both = op.measure(M, 1.0, [4, 7])
    np.testing.assert_array_equal(both[1], op.measure(M[1], 1.0, 7))
    with pytest.raises(ValueError, match="2 seeds"):
        op.measure(M, 1.0, [4])


def test_rip_estimate_bounds_what_it_saw_and_vanishes_for_the_identity():
    assert SensingOperator((5, 5), kind="identity").rip_estimate(2, 20) < 1e-12
    few, many = (SensingOperator((10, 10), m, seed=[0, 1]).rip_estimate(1, 200) for m in (40, 4000))
    assert few.shape == (2,)
    assert (many < few).all() and (many < 0.15).all()


def test_noise_has_the_asked_size_and_depends_on_the_seed_alone():
    op = SensingOperator((30, 30), kind="identity")
    M = np.zeros((30, 30))
    y = op.measure(M, noise=0.5, seed=3)
    assert abs(y.std() - 0.5) < 0.06
    np.testing.assert_array_equal(y, op.measure(M, noise=0.5, seed=3))
    batch = SensingOperator((3, 3), 5, seed=[0, 1])
    zeros = np.zeros((2, 3, 3))
    both = batch.measure(zeros, 1.0, seed=[7, 8])
    np.testing.assert_array_equal(both[1], batch.measure(zeros, 1.0, seed=[1, 8])[1])


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.floats(1, 50), st.integers(0, 999)
)
def test_ground_truth_has_the_asked_spectrum(n1, n2, r, kappa, seed):
    r = min(r, n1, n2)
    M = low_rank_ground_truth(n1, n2, r, kappa, seed=seed)
    values = np.linalg.svd(M, compute_uv=False)
    np.testing.assert_allclose(values[:r], np.linspace(1, 1 / kappa, r), atol=1e-12)
    assert (values[r:] < 1e-12).all()


def test_symmetric_ground_truth_is_positive_semidefinite_and_batches_by_seed():
    M = low_rank_ground_truth(7, 7, 3, 4.0, symmetric=True, seed=[5, 6])
    np.testing.assert_allclose(M, M.swapaxes(-1, -2), atol=1e-15)
    assert np.linalg.eigvalsh(M).min() > -1e-14
    single = low_rank_ground_truth(7, 7, 3, 4.0, symmetric=True, seed=6)
    np.testing.assert_array_equal(M[1], single)


def test_orthonormal_factors_are_haar_so_that_the_mean_vanishes():
    columns = low_rank_ground_truth(4, 1, 1, seed=range(4000))
    assert np.abs(columns.mean(0)).max() < 4 * 0.5 / np.sqrt(4000)


def test_user_file_round_trip_and_normalisation(tmp_path):
    rng = np.random.default_rng(0)
    A, M = rng.standard_normal((50, 3, 4)), rng.standard_normal((3, 4))
    y = np.einsum("mij,ij->m", A, M)
    np.savez(tmp_path / "own.npz", A=A, y=y, M=M)
    problem = load_sensing_problem(tmp_path / "own.npz")
    np.testing.assert_allclose(problem.op.forward(M), problem.y, rtol=1e-12)
    assert (problem.op.matrices**2).sum() == pytest.approx(12)
    raw = load_sensing_problem(tmp_path / "own.npz", normalize=False)
    np.testing.assert_array_equal(raw.y, y)
    np.testing.assert_array_equal(raw.truth, M)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"A": np.ones((2, 3, 4))}, "lacks \\['y'\\]"),
        ({"A": np.ones((2, 3)), "y": np.ones(2)}, "A must have shape"),
        ({"A": np.ones((2, 3, 4)), "y": np.ones(3)}, "y in .* must have shape \\(2,\\)"),
        ({"A": np.full((2, 3, 4), np.nan), "y": np.ones(2)}, "A in .* finite"),
        ({"A": np.ones((2, 3, 4)), "y": np.ones(2), "M": np.ones((4, 3))}, "M in .* shape"),
        ({"A": np.zeros((2, 3, 4)), "y": np.ones(2)}, "zero everywhere"),
        ({"A": np.array([{}], dtype=object), "y": np.ones(2)}, "can't be read as .npz"),
    ],
)
def test_a_bad_user_file_is_named(tmp_path, arrays, words):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=words):
        load_sensing_problem(tmp_path / "bad.npz")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: SensingOperator((0, 3), 4), "shape"),
        (lambda: SensingOperator((2, 3)), "m must be at least 1"),
        (lambda: SensingOperator((2, 3), 5, kind="identity"), "m must be n1"),
        (lambda: SensingOperator((2, 3), 5, kind="fourier"), "kind"),
        (lambda: SensingOperator((2, 3), 5, seed=[]), "seed"),
        (lambda: SensingOperator((2, 3), 5, seed=-1), "seed must be >= 0"),
        (lambda: SensingOperator((2, 3), 5).forward(np.ones((3, 2))), "M must have shape"),
        (lambda: SensingOperator((2, 3), 5).adjoint(np.ones(4)), "z must have shape"),
        (lambda: SensingOperator((2, 3), 5, seed=[0, 1]).forward(np.ones((2, 3))), "M must"),
        (lambda: SensingOperator((2, 3), 5).measure(np.ones((2, 3)), -1.0), "noise"),
        (lambda: SensingOperator((2, 3), 5).rip_estimate(3), "rank"),
        (lambda: SensingOperator((2, 3), 5).rip_estimate(1, 0), "trials"),
        (lambda: SensingOperator.from_matrices(np.full((1, 2, 2), np.inf)), "finite"),
        (lambda: low_rank_ground_truth(3, 4, 4), "r must be in 1..3"),
        (lambda: low_rank_ground_truth(3, 4, 1, 0.5), "kappa"),
        (lambda: low_rank_ground_truth(3, 4, 1, symmetric=True), "n1 == n2"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
