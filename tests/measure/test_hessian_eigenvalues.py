from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from overparam.measure import NotFiniteError, hessian_top_eigenvalues, hessian_trace
from overparam.measure.hessian_eigenvalues import HessianProducts
from overparam.models import MLP, SmallConvNet, seeded

LOSS = partial(F.cross_entropy, label_smoothing=0.1)


def problem(n=30, width=5, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, width, generator=generator, dtype=torch.float64).to(dtype)
    return x, torch.randint(3, (n,), generator=generator)


def net(activation="tanh", dtype=torch.float64):
    # 5 * 9 + 9 + 9 * 4 + 4 + 4 * 3 + 3 = 109 parameters
    return seeded(lambda: MLP((5, 9, 4, 3), activation), 0).to(dtype)


def dense(model, loss, data):
    """The Hessian by autograd, an independent path."""
    names = [name for name, _ in model.named_parameters()]
    values = tuple(p.detach() for p in model.parameters())

    def value(*tensors):
        out = torch.func.functional_call(model, dict(zip(names, tensors, strict=True)), data[0])
        return loss(out, data[1])

    blocks = torch.autograd.functional.hessian(value, values)
    sizes = [p.numel() for p in values]
    return torch.cat(
        [
            torch.cat([b.reshape(n, m) for b, m in zip(row, sizes, strict=True)], 1)
            for row, n in zip(blocks, sizes, strict=True)
        ]
    ).numpy()


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_lanczos_and_trace_against_the_dense_hessian(activation):
    model, data = net(activation), problem()
    hessian = dense(model, LOSS, data)
    exact = np.linalg.eigvalsh(hessian)[::-1]
    top = hessian_top_eigenvalues(model, LOSS, data, k=4, tolerance=1e-8)
    np.testing.assert_allclose(top, exact[:4], rtol=1e-6)
    np.testing.assert_allclose(hessian_top_eigenvalues(model, LOSS, data), exact[:1], rtol=1e-4)
    np.testing.assert_allclose(
        hessian_top_eigenvalues(model, LOSS, data, k=9, method="dense"), exact[:9], atol=1e-10
    )
    estimate = hessian_trace(model, LOSS, data, probes=400)
    assert abs(estimate.trace - np.trace(hessian)) < 4 * estimate.standard_error
    off = hessian - np.diag(np.diag(hessian))
    expected = (2 * (off**2).sum() / 400) ** 0.5
    assert estimate.standard_error == pytest.approx(expected, rel=0.2)


def test_products_and_what_is_left_alone():
    model, data = net().train(), problem()
    model.layers[0].weight.requires_grad_(False)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    products = HessianProducts(model, LOSS, data)
    assert products.size == 109 - 45
    hessian = dense(model, LOSS, data)[45:, 45:]
    v = np.random.default_rng(0).standard_normal(64)
    np.testing.assert_allclose(products(v), hessian @ v, atol=1e-12)
    assert model.training and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_at_most_30_products_on_a_trained_net(monkeypatch):
    model, (x, y) = SmallConvNet((1, 8, 8)), problem(600, 64, torch.float32)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(10):
        optimizer.zero_grad()
        LOSS(model(x), y).backward()
        optimizer.step()
    counted = []
    product = HessianProducts.__call__
    monkeypatch.setattr(
        HessianProducts, "__call__", lambda self, v: counted.append(self) or product(self, v)
    )
    top = hessian_top_eigenvalues(model, LOSS, (x, y))
    assert len(counted) <= 30
    # A fixed subset of 512 samples.
    assert top == pytest.approx(hessian_top_eigenvalues(model, LOSS, (x[:512], y[:512])))


def test_a_quadratic_and_tiny_problems():
    model = nn.Linear(2, 1, bias=False)
    x, y = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1)
    top = hessian_top_eigenvalues(model, F.mse_loss, (x, y), k=2)
    np.testing.assert_allclose(top, [4.0, 1.0], rtol=1e-6)
    assert hessian_trace(model, F.mse_loss, (x, y), probes=2) == pytest.approx((5.0, 0.0))
    line = hessian_top_eigenvalues(model, lambda out, y: out.sum(), (x, y))
    assert line.tolist() == [0.0]


def test_a_hessian_of_zeros():
    """A loss linear in all weights, and a net whose units are all saturated."""
    line = nn.Linear(20, 1)
    data = torch.randn(5, 20, generator=torch.Generator().manual_seed(0)), torch.zeros(5, 1)
    found = hessian_top_eigenvalues(line, lambda out, y: (out - y).mean(), data, k=2)
    assert found.tolist() == [0.0, 0.0]
    model = net("relu")
    with torch.no_grad():
        model.layers[2].bias.fill_(-1e9)  # no unit of the last hidden layer is on
        model.layers[-1].bias[0] = 1e9
    assert hessian_top_eigenvalues(model, LOSS, problem()).tolist() == [0.0]


def test_weights_that_overflow_are_told_from_bad_arguments():
    model, data = net(dtype=torch.float32), problem(dtype=torch.float32)
    with torch.no_grad():
        model.layers[0].weight.fill_(torch.nan)
    with pytest.raises(NotFiniteError, match="loss gave nan"):
        HessianProducts(model, LOSS, data)
    # The loss is finite, its second derivative is not.
    line, x = nn.Linear(1, 1), torch.full((1, 1), 1e15)
    products = HessianProducts(line, lambda out, y: (1e10 * out.cos()).mean(), (x, x))
    with pytest.raises(NotFiniteError, match="derivatives are not finite"):
        products(np.ones(2))


def test_batch_norm_is_measured_in_eval_mode():
    model, data = seeded(lambda: MLP((5, 6, 3), norm="batch"), 0).double(), problem()
    model(data[0])
    statistics = [b.clone() for b in model.buffers()]
    found = hessian_top_eigenvalues(model.train(), LOSS, data, tolerance=1e-6)
    assert found == pytest.approx(hessian_top_eigenvalues(model.eval(), LOSS, data, tolerance=1e-6))
    assert all(torch.equal(a, b) for a, b in zip(statistics, model.buffers(), strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k=0"),
        ({"k": 110}, r"k=110; allowed 1\.\.109"),
        ({"method": "power"}, "method='power'"),
        ({"subset": 0}, "subset=0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        hessian_top_eigenvalues(net(), LOSS, problem(), **options)


def test_bad_input():
    x, y = problem()
    with pytest.raises(ValueError, match="30 inputs and 29 targets"):
        hessian_top_eigenvalues(net(), LOSS, (x, y[:-1]))
    with pytest.raises(ValueError, match="requires_grad"):
        hessian_top_eigenvalues(net().requires_grad_(False), LOSS, (x, y))
    with pytest.raises(ValueError, match="a finite scalar"):
        hessian_top_eigenvalues(net(), partial(F.cross_entropy, reduction="none"), (x, y))
    with pytest.raises(ValueError, match="a finite scalar"):
        hessian_top_eigenvalues(net(), LOSS, (x * torch.nan, y))
    with pytest.raises(ValueError, match="probes=1"):
        hessian_trace(net(), LOSS, (x, y), probes=1)
    with pytest.raises(RuntimeError, match="did not converge in"):
        hessian_top_eigenvalues(net(), LOSS, (x, y), k=6, tolerance=1e-12, max_products=14)
    with pytest.raises(ValueError, match="allowed <= 5000"):
        big = MLP((64, 128, 3))
        hessian_top_eigenvalues(big, LOSS, problem(width=64, dtype=torch.float32), method="dense")
