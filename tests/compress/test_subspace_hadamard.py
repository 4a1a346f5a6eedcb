"""The fast transform against scipy's matrix."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard

from overparam.compress.subspace import fwht


def matrix(n: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor(hadamard(n), dtype=dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("n", [1, 2, 4, 16, 32, 64, 128, 1024])
def test_equals_the_matrix(n: int, dtype: torch.dtype, tolerance: float) -> None:
    x = torch.randn(3, n, generator=torch.Generator().manual_seed(n), dtype=dtype)
    exact = x.double() @ matrix(n)
    assert (fwht(x).double() - exact).norm() <= tolerance * exact.norm()


@settings(max_examples=40, deadline=None)
@given(
    shape=st.lists(st.integers(1, 3), max_size=2),
    log=st.integers(0, 6),
    axis=st.integers(0, 2),
    seed=st.integers(0, 99),
)
def test_twice_is_n_times_identity_along_any_axis(
    shape: list[int], log: int, axis: int, seed: int
) -> None:
    axis = min(axis, len(shape))
    shape.insert(axis, 2**log)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    before = x.clone()
    torch.testing.assert_close(fwht(fwht(x, axis), axis), 2**log * x)
    torch.testing.assert_close(fwht(fwht(x, axis, True), axis, True), x)
    assert torch.equal(x, before)


def test_result_is_never_the_input() -> None:
    x = torch.ones(1, 1)
    fwht(x).zero_()
    assert x.item() == 1.0


def test_gradients() -> None:
    x = torch.randn(3, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(fwht, (x,), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(lambda a: fwht(a).pow(3), (x,))


def test_saves_no_tensor() -> None:
    saved: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        fwht(torch.randn(16, requires_grad=True))
    assert saved == []


def test_transforms_of_torch_func() -> None:
    y = torch.randn(5, 3, 8, dtype=torch.float64)
    torch.testing.assert_close(torch.vmap(fwht, in_dims=1)(y), fwht(y).movedim(1, 0))
    gradient = torch.func.grad(lambda a: fwht(a).pow(3).sum())
    torch.testing.assert_close(torch.vmap(torch.vmap(gradient))(y), 3 * fwht(fwht(y).square()))
    for jacobian in (torch.func.jacrev, torch.func.jacfwd):
        torch.testing.assert_close(jacobian(fwht)(y[0, 0]), matrix(8))
    tangent = torch.func.jvp(fwht, (y,), (y.cos(),))[1]
    torch.testing.assert_close(tangent, fwht(y.cos()))


@pytest.mark.parametrize("n", [0, 3, 12])
def test_length_is_a_power_of_two(n: int) -> None:
    with pytest.raises(ValueError, match=f"power of two, got {n}"):
        fwht(torch.zeros(2, n))


def test_integers_are_refused() -> None:
    with pytest.raises(TypeError, match="floating-point"):
        fwht(torch.zeros(4, dtype=torch.int64))
