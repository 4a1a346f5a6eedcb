import pytest
import torch
from torch import nn

from overparam.compress import (
    attach_gradient_scaling,
    materialise,
    rps_grad_scale,
    rps_mapping,
    scale_step,
    share_parameters,
)

X = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(40) % 3


def mlp(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


def train(model, steps=20, scaled=True, optimizer=None, lr=0.1, momentum=0.9, decay=0.0):
    if optimizer is None:
        optimizer = torch.optim.SGD(
            model.parameters(), lr=lr, momentum=momentum, weight_decay=decay
        )
    if scaled:
        attach_gradient_scaling(optimizer, model)
    for step in range(steps):
        batch = slice(step % 4 * 10, step % 4 * 10 + 10)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(X[batch]), Y[batch]).backward()
        optimizer.step()
    return model


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("mode", ["v1", "v2", "v3", "v4", "v5", "none"])
@pytest.mark.parametrize("guard", ["relative", "official", "none"])
def test_every_mode_against_loops(mode, guard):
    n, m = 60, 25
    index = rps_mapping("hashed", n, m, 1)
    lam = torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) + 0.1
    gamma = rps_grad_scale(index, lam, m, mode, guard)
    expected = []
    for k in range(m):
        mine = [float(v) for i, v in zip(index, lam, strict=True) if int(i) == k]
        total, squares = sum(mine), sum(v * v for v in mine)
        count = len(mine) + (1e-3 if guard == "official" else 0)
        if not mine and guard != "official":
            expected.append(1.0)
            continue
        plain = {
            "v1": total**2 / count, "v2": total, "v3": total / count,
            "v4": squares**0.5, "v5": squares, "none": 1.0,
        }  # fmt: skip
        expected.append(plain[mode] + (1e-6 if guard == "official" else 0))
    assert torch.allclose(gamma, torch.tensor(expected, dtype=torch.float64), rtol=1e-12)
    assert (index.bincount(minlength=m) == 0).any()


def test_relative_guard_bounds_tiny_divisors():
    lam = torch.tensor([1.0, 1e-9])
    gamma = rps_grad_scale(torch.tensor([0, 1]), lam, 2)
    assert float(gamma[1]) == pytest.approx(1e-6 * 0.5)
    assert float(rps_grad_scale(torch.tensor([0, 1]), lam, 2, guard="none")[1]) < 1e-17


def test_bad_input():
    index = torch.tensor([0, 1, 2])
    with pytest.raises(ValueError, match="v7"):
        rps_grad_scale(index, 1.0, 3, "v7")
    with pytest.raises(ValueError, match="soft"):
        rps_grad_scale(index, 1.0, 3, guard="soft")
    with pytest.raises(ValueError, match=r"0\.\.2; allowed 0\.\.1"):
        rps_grad_scale(index, 1.0, 2)
    with pytest.raises(ValueError, match="negative"):
        rps_grad_scale(index, torch.tensor([1.0, -1.0, 1.0]), 3)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("guard", ["none", "relative"])
@pytest.mark.parametrize("cache_index", [True, False])
def test_at_1x_the_weights_follow_dense_training(momentum, guard, cache_index):
    shared = share_parameters(mlp(), 1, seed=3, guard=guard, cache_index=cache_index)
    dense = materialise(shared)
    start = flat(dense)
    train(shared, momentum=momentum)
    train(dense, momentum=momentum, scaled=False)
    difference = (flat(materialise(shared)) - flat(dense)).norm() / (flat(dense) - start).norm()
    assert float(difference) < 1e-5
    unscaled = train(share_parameters(mlp(), 1, seed=3), momentum=momentum, scaled=False)
    moved = (flat(materialise(unscaled)) - flat(dense)).norm() / (flat(dense) - start).norm()
    assert not float(moved) < 0.1


@pytest.mark.parametrize("s", [1e-4, 1e-2, 1.0, 10.0])
def test_the_path_of_the_weights_does_not_depend_on_the_scale_of_z(s):
    reference = flat(materialise(train(share_parameters(mlp(), 5, seed=3))))
    weights = flat(materialise(train(share_parameters(mlp(), 5, seed=3, init_scale=s))))
    assert float((weights - reference).abs().max() / reference.abs().max()) < 1e-4


def test_scaling_comes_before_weight_decay():
    shared = share_parameters(mlp(), 1, seed=3)
    dense = materialise(shared)
    train(shared, decay=0.1)
    train(dense, decay=0.1, scaled=False)
    assert torch.allclose(flat(materialise(shared)), flat(dense), rtol=1e-4, atol=1e-6)


def test_accumulated_gradients_are_scaled_once():
    once, twice = (share_parameters(mlp(), 4, seed=1) for _ in range(2))
    for model, parts in ((once, 1), (twice, 4)):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        attach_gradient_scaling(optimizer, model)
        for part in range(parts):
            rows = slice(part * 40 // parts, (part + 1) * 40 // parts)
            loss = nn.functional.cross_entropy(model(X[rows]), Y[rows])
            (loss / parts).backward()
        optimizer.step()
    assert torch.allclose(once.shared, twice.shared, atol=1e-7)


def test_a_closure_is_scaled_after_each_call():
    plain, closed = (share_parameters(mlp(), 4, seed=1) for _ in range(2))
    train(plain, steps=1, momentum=0)
    optimizer = torch.optim.SGD(closed.parameters(), lr=0.1)
    attach_gradient_scaling(optimizer, closed)

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(closed(X[:10]), Y[:10])
        loss.backward()
        return loss

    assert optimizer.step(closure) is not None
    assert torch.equal(plain.shared, closed.shared)


def test_adam_does_not_feel_it():
    results = []
    for scaled in (True, False):
        model = share_parameters(mlp(), 4, seed=1)
        adam = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-16)
        results.append(train(model, scaled=scaled, optimizer=adam))
    assert torch.allclose(results[0].shared, results[1].shared, rtol=1e-3, atol=1e-5)


def test_attach_checks_the_optimiser_and_can_be_removed():
    model, other = share_parameters(mlp(), 4, seed=1), mlp()
    with pytest.raises(ValueError, match="'shared'"):
        attach_gradient_scaling(torch.optim.SGD(other.parameters(), lr=0.1), model)
    with pytest.raises(ValueError, match="share_parameters"):
        attach_gradient_scaling(torch.optim.SGD(other.parameters(), lr=0.1), other)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = attach_gradient_scaling(optimizer, model)
    with pytest.raises(ValueError, match="already"):
        attach_gradient_scaling(optimizer, model)
    handle.remove()
    before = model.shared.detach().clone()
    model(X).sum().backward()
    gradient = model.shared.grad.clone()
    optimizer.step()
    assert torch.allclose(model.shared, before - 0.1 * gradient)


def test_scale_step_serves_single_and_stacked_gradients():
    gamma = torch.rand(3, 7) + 0.5
    gradient = torch.randn(3, 7)
    stacked = scale_step(gradient, gamma)
    assert torch.equal(stacked[1], scale_step(gradient[1], gamma[1]))
    assert torch.allclose(stacked * gamma, gradient)
