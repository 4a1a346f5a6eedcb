"""Projections against explicit matrices, and their laws."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.linalg import hadamard

from overparam.compress.subspace import (
    CoordinateProjection,
    DenseProjection,
    FastfoodProjection,
    LayerwiseProjection,
    PhiloxStream,
    Projection,
    SparseProjection,
    share_dimensions,
)

KINDS = [DenseProjection, SparseProjection, FastfoodProjection, CoordinateProjection]


def make(kind: type[Projection], full_dim: int, dim: int, seed: int = 0, **options) -> Projection:
    return kind(full_dim, dim, seed=seed, **{"dtype": torch.float64, **options})


def normals(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("full_dim", "dim"), [(1, 1), (2, 1), (37, 5), (64, 64), (300, 20)])
def test_products_equal_the_matrix(kind: type[Projection], full_dim: int, dim: int) -> None:
    projection = make(kind, full_dim, dim)
    matrix = projection.to_dense()
    assert matrix.shape == (full_dim, dim)
    v, theta = normals(3, dim), normals(3, full_dim, seed=1)
    torch.testing.assert_close(projection.matvec(v), v @ matrix.T)
    torch.testing.assert_close(projection.matvec(v[0]), matrix @ v[0])
    torch.testing.assert_close(projection.rmatvec(theta), theta @ matrix)


@pytest.mark.parametrize("kind", KINDS)
def test_adjoint_in_float32(kind: type[Projection]) -> None:
    projection = make(kind, 3000, 200, dtype=torch.float32)
    v, u = normals(200).float(), normals(3000, seed=1).float()
    left, right = projection.matvec(v) @ u, v @ projection.rmatvec(u)
    scale = projection.matvec(v).norm() * u.norm()
    assert (left - right).abs() <= 1e-5 * scale


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_the_adjoint_and_stacks(kind: type[Projection]) -> None:
    several = [make(kind, 50, 6, seed) for seed in range(3)]
    states = {
        name: torch.stack([dict(p.named_buffers())[name] for p in several])
        for name, _ in several[0].named_buffers()
    }
    v, u = normals(3, 6), normals(3, 50, seed=1)

    def loss(v: torch.Tensor, u: torch.Tensor, state: dict[str, torch.Tensor]) -> torch.Tensor:
        # The module's own forward is matvec here: functional_call swaps buffers for any method.
        return torch.func.functional_call(Products(several[0]), prefixed(state), (v,)) @ u

    gradients = torch.vmap(torch.func.grad(loss))(v, u, states)
    for i, projection in enumerate(several):
        torch.testing.assert_close(gradients[i], projection.rmatvec(u[i]))
        torch.testing.assert_close(gradients[i], projection.to_dense().T @ u[i])


class Products(torch.nn.Module):
    def __init__(self, projection: Projection) -> None:
        super().__init__()
        self.projection = projection

    def forward(self, v: torch.Tensor) -> torch.Tensor:
        return self.projection.matvec(v)


def prefixed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"projection.{name}": tensor for name, tensor in state.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_seed_alone_decides(kind: type[Projection]) -> None:
    torch.manual_seed(1)
    first = make(kind, 40, 5, 7).to_dense()
    torch.manual_seed(2)
    np.random.seed(3)  # noqa: NPY002
    assert torch.equal(first, make(kind, 40, 5, 7).to_dense())
    assert not torch.equal(first, make(kind, 40, 5, 8).to_dense())
    assert not torch.equal(first, make(kind, 40, 5, 7, stream=1).to_dense())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", [0, -1, 11])
def test_dim_out_of_range(kind: type[Projection], dim: int) -> None:
    with pytest.raises(ValueError, match=rf"dim must lie in \[1, 10\].*got {dim}"):
        kind(10, dim, seed=0)


@pytest.mark.parametrize("blocks", [None, (1800, 60, 1100, 40)])
def test_columns_have_unit_length(blocks: tuple[int, ...] | None) -> None:
    dense = make(DenseProjection, 3000, 40).to_dense()
    sparse = make(SparseProjection, 3000, 40, block_sizes=blocks).to_dense()
    for matrix in (dense, sparse):
        torch.testing.assert_close(
            matrix.norm(dim=0), torch.ones(40, dtype=torch.float64), rtol=1e-6, atol=0
        )


def test_orthonormal_spans_the_same_subspace() -> None:
    plain = make(DenseProjection, 60, 8).to_dense()
    basis = make(DenseProjection, 60, 8, orthonormal=True).to_dense()
    torch.testing.assert_close(basis.T @ basis, torch.eye(8, dtype=torch.float64))
    torch.testing.assert_close(basis @ (basis.T @ plain), plain)


def test_dense_is_gaussian() -> None:
    matrix = make(DenseProjection, 2000, 10).to_dense()
    entries = (matrix * 2000**0.5).flatten().numpy()
    assert stats.kstest(entries, "norm").pvalue > 1e-3


def test_dense_limit_names_fastfood() -> None:
    with pytest.raises(ValueError, match="fastfood"):
        DenseProjection(50_001, 1000, seed=0)
    with pytest.raises(ValueError, match="dim <= 2000, got 2001"):
        DenseProjection(3000, 2001, seed=0, orthonormal=True)


def test_fastfood_is_its_formula() -> None:
    """B, Pi, G from the seed, and scipy's Hadamard matrix at full length L."""
    full_dim, dim, length = 50, 6, 64
    draws = PhiloxStream(11)
    signs, permutation = draws.signs(length), draws.permutation(length)
    gaussians = draws.normals(length)
    h = hadamard(length).astype(float)
    inner = (h @ np.diag(signs))[permutation]
    full = h @ (gaussians[:, None] * inner)
    divisor = np.sqrt(length * np.square(gaussians).sum()) * np.sqrt(full_dim / length)
    expected = full[:full_dim, :dim] / divisor
    actual = make(FastfoodProjection, full_dim, dim, 11).to_dense().numpy()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)
    # Before the cut each column has exactly the norm that the divisor is made from.
    np.testing.assert_allclose(
        np.linalg.norm(full, axis=0), np.sqrt(length * np.square(gaussians).sum())
    )


def test_fastfood_columns_have_unit_length_on_average() -> None:
    matrix = make(FastfoodProjection, 3000, 200).to_dense()
    assert abs(matrix.square().sum(dim=0).mean().item() - 1.0) < 0.05


def test_fastfood_backward_saves_only_its_arrays() -> None:
    projection = FastfoodProjection(1000, 30, seed=0)
    own = {buffer.data_ptr() for buffer in projection.buffers()}
    saved: list[int] = []
    v = torch.zeros(30, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: saved.append(t.data_ptr()) or t, lambda t: t
    ):
        projection.matvec(v)
    assert saved
    assert set(saved) <= own


def test_sparse_follows_the_law_of_scikit_learn() -> None:
    """Density 1 / sqrt(D_b) in each block, magnitudes sqrt(1 / density), fair signs."""
    blocks = (1600, 400)
    projection = make(SparseProjection, 2000, 300, block_sizes=blocks)
    matrix = projection.to_dense().numpy()
    for part, size in ((matrix[:1600], 1600), (matrix[1600:], 400)):
        nonzeros = int((part != 0).sum())
        assert stats.binomtest(nonzeros, size * 300, size**-0.5).pvalue > 1e-3
        assert stats.binomtest(int((part > 0).sum()), nonzeros, 0.5).pvalue > 1e-3
    column = matrix[:, 0]
    large, small = np.abs(column[:1600]).max(), np.abs(column[1600:]).max()
    np.testing.assert_allclose(large / small, (1600 / 400) ** 0.25)
    assert np.unique(np.abs(column[:1600]).round(12)).size == 2


def test_sparse_has_no_empty_column_and_one_shape() -> None:
    shapes = set()
    for seed in range(60):
        projection = make(SparseProjection, 6, 4, seed, block_sizes=(4, 2))
        torch.testing.assert_close(
            projection.to_dense().norm(dim=0), torch.ones(4, dtype=torch.float64)
        )
        shapes.add(projection.values.shape)
    assert len(shapes) == 1


def test_sparse_memory_is_d_sqrt_D() -> None:
    projection = SparseProjection(250_000, 40, seed=0)
    assert len(projection.values) < 1.2 * 40 * 500


@pytest.mark.parametrize("blocks", [(5, 4), (10, 0), (11, -1), ()])
def test_sparse_blocks_must_fill_the_vector(blocks: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="block_sizes must be positive and sum to 10"):
        SparseProjection(10, 2, seed=0, block_sizes=blocks)


def test_coordinates_are_distinct_unit_vectors() -> None:
    matrix = make(CoordinateProjection, 30, 12).to_dense()
    assert (matrix.sum(dim=0) == 1).all()
    assert (matrix.square().sum(dim=0) == 1).all()
    assert (matrix.sum(dim=1) <= 1).all()


@pytest.mark.parametrize(
    ("dim", "sizes", "expected"),
    [
        (10, [600, 300, 100], [5, 3, 2]),
        (3, [600, 300, 100], [1, 1, 1]),
        (13, [10, 1, 2], [10, 1, 2]),
        (12, [10, 1, 2], [9, 1, 2]),
        (100, [1000, 1, 1], [98, 1, 1]),
    ],
)
def test_shares(dim: int, sizes: list[int], expected: list[int]) -> None:
    assert share_dimensions(dim, sizes) == expected


def test_shares_are_feasible_for_every_dim() -> None:
    sizes = [50, 7, 1, 30, 2]
    for dim in range(5, 91):
        shares = share_dimensions(dim, sizes)
        assert sum(shares) == dim
        assert all(1 <= share <= size for share, size in zip(shares, sizes, strict=True))
    for dim in (4, 91):
        with pytest.raises(ValueError, match=r"dim must lie in \[5, 90\]"):
            share_dimensions(dim, sizes)


def test_layerwise_is_block_diagonal() -> None:
    projection = LayerwiseProjection(
        [20, 8], 7, make=lambda layer, size, share: make(DenseProjection, size, share, stream=layer)
    )
    first, second = (block.to_dense() for block in projection.blocks)
    expected = torch.block_diag(first, second)
    torch.testing.assert_close(projection.to_dense(), expected)
    u = normals(28)
    torch.testing.assert_close(projection.rmatvec(u), expected.T @ u)
