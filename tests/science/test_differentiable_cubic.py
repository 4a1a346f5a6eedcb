"""The torch spline against scipy's and its gradients against finite differences."""

import copy

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

from overparam.science.autoknots import autoknots
from overparam.science.differentiable_cubic import DifferentiableCubic

RNG = np.random.default_rng(0)
X = np.sort(RNG.uniform(-2, 3, 9))
Y = {"scalar": RNG.standard_normal(9), "vector": RNG.standard_normal((9, 3))}
Q = np.concatenate([np.linspace(-2.5, 3.5, 40), X])


@pytest.mark.parametrize("bc", ["not-a-knot", "natural", "clamped"])
@pytest.mark.parametrize("y", Y)
@pytest.mark.parametrize("trainable", [False, True])
def test_value_derivative_and_slopes_are_scipys(bc, y, trainable):
    ours = DifferentiableCubic(X, Y[y], bc, trainable=trainable)
    theirs = CubicSpline(X, Y[y], bc_type=bc)
    q = torch.tensor(Q)
    np.testing.assert_allclose(ours(q).detach(), theirs(Q), rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(ours.derivative(q).detach(), theirs(Q, 1), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(ours.slopes().detach(), theirs(X, 1), rtol=1e-10, atol=1e-11)
    assert ours(q.reshape(7, 7)).shape[:2] == (7, 7)


@pytest.mark.parametrize("n", [4, 5])
def test_few_knots(n):
    ours = DifferentiableCubic(X[:n], Y["scalar"][:n])
    theirs = CubicSpline(X[:n], Y["scalar"][:n])
    np.testing.assert_allclose(ours(torch.tensor(Q)), theirs(Q), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("bc", ["not-a-knot", "natural", "clamped"])
@pytest.mark.parametrize("y", Y)
def test_gradients_to_y_and_to_the_queries(bc, y):
    spline = DifferentiableCubic(X, Y[y], bc, trainable=True)
    q = torch.tensor(Q[:10], requires_grad=True)

    def value(values, points):
        return torch.func.functional_call(spline, {"y": values}, (points,))

    values = torch.tensor(Y[y], requires_grad=True)
    assert torch.autograd.gradcheck(value, (values, q))
    assert torch.autograd.gradgradcheck(value, (values, q))
    (slope,) = torch.autograd.grad(spline(q).sum(), q)
    expected = spline.derivative(q)
    torch.testing.assert_close(slope, expected if y == "scalar" else expected.sum(-1))


def test_the_gradient_to_y_is_the_cardinal_spline():
    spline = DifferentiableCubic(X, Y["scalar"], trainable=True)
    spline(torch.tensor(0.7, dtype=torch.float64)).backward()
    cardinal = CubicSpline(X, np.eye(len(X)))(0.7)
    np.testing.assert_allclose(spline.y.grad, cardinal, rtol=1e-10, atol=1e-12)


def test_training_the_values_fits_a_function():
    spline = DifferentiableCubic(np.linspace(0, 1, 8), np.zeros(8), trainable=True)
    q = torch.linspace(0, 1, 200, dtype=torch.float64)
    optimizer = torch.optim.LBFGS(spline.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = ((spline(q) - torch.sin(3 * q)) ** 2).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert closure().item() < 1e-7


def test_a_costly_function_is_replaced_by_its_table():
    result = autoknots(np.exp, 0, 5, 1e-6)
    table = DifferentiableCubic(result.x, result.y)
    q = torch.linspace(0, 5, 999, dtype=torch.float64)
    torch.testing.assert_close(table(q), q.exp(), rtol=1e-6, atol=0)


def test_it_copies_saves_and_changes_precision_like_any_module():
    spline = DifferentiableCubic(X, Y["scalar"], trainable=True)
    other = DifferentiableCubic(X, 0 * Y["scalar"], trainable=True)
    other.load_state_dict(spline.state_dict())
    q = torch.tensor(Q)
    torch.testing.assert_close(other(q), spline(q))
    torch.testing.assert_close(copy.deepcopy(spline)(q), spline(q))
    single = copy.deepcopy(spline).float()
    single(q.float()).sum().backward()
    assert single.y.grad.dtype == torch.float32
    torch.testing.assert_close(single(q.float()).double(), spline(q), rtol=1e-3, atol=1e-3)
    fixed = DifferentiableCubic(X, Y["scalar"])
    assert not list(fixed.parameters()) and "trainable=False" in repr(fixed)


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        ([0, 1, 2], [1, 2, 3], "number of knots must be at least 4"),
        ([0, 1, 1, 2], [1, 2, 3, 4], "strictly increasing"),
        ([0, 1, 2, 3], [1, 2, np.inf, 4], "finite"),
        ([0, 1, 2, 3], [1, 2, 3], "shapes"),
    ],
)
def test_bad_knots_are_refused(x, y, words):
    with pytest.raises(ValueError, match=words):
        DifferentiableCubic(x, y)


def test_queries_outside_can_be_refused():
    spline = DifferentiableCubic([0, 1, 2, 3], [1, 2, 3, 4], extrapolate=False)
    assert spline(torch.tensor([0.0, 3.0])).tolist() == [1, 4]
    with pytest.raises(ValueError, match=r"q must lie in \[0.0, 3.0\], got -1.0 to 2.0"):
        spline(torch.tensor([-1.0, 2.0]))
