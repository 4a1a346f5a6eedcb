import pytest
import torch
import torch.nn.functional as F
from torch import nn

from overparam.measure import sam_sharpness
from overparam.models import MLP, seeded


class Bowl(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.ones((), dtype=torch.float64))
        self.b = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, x):
        return (4 * self.a**2 + self.b**2) / 2 * x


def test_quadratic_bowl():
    one = torch.ones(1, dtype=torch.float64)
    found = sam_sharpness(Bowl(), lambda out, y: out.mean(), (one, one), 0.1)
    assert found == pytest.approx(0.431428, abs=1e-6)


def test_small_radius_gives_the_gradient_norm_and_the_model_is_left_alone():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 5, generator=generator, dtype=torch.float64)
    y = torch.randint(3, (20,), generator=generator)
    model = seeded(lambda: MLP((5, 6, 3), "tanh"), 0).double()
    before = [p.detach().clone() for p in model.parameters()]
    found = sam_sharpness(model, F.cross_entropy, (x, y), 1e-5)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert model.training and all(p.grad is None for p in model.parameters())
    gradients = torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()))
    norm = torch.cat([g.reshape(-1) for g in gradients]).norm().item()
    assert found == pytest.approx(1e-5 * norm, rel=1e-4)
    assert sam_sharpness(model, F.cross_entropy, (x, y), 0.1, adaptive=True) > 0
    half = sam_sharpness(model, F.cross_entropy, (x, y), 0.1, subset=10)
    assert half == sam_sharpness(model, F.cross_entropy, (x[:10], y[:10]), 0.1)


@pytest.mark.parametrize("rho", [0.0, -1.0, float("nan")])
def test_bad_rho(rho):
    with pytest.raises(ValueError, match="rho="):
        sam_sharpness(Bowl(), lambda out, y: out.mean(), (torch.ones(1), torch.ones(1)), rho)


def test_frozen_model():
    with pytest.raises(ValueError, match="requires_grad"):
        data = torch.ones(1), torch.ones(1)
        sam_sharpness(Bowl().requires_grad_(False), lambda out, y: out.mean(), data)
