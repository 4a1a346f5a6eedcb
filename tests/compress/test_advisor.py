import pytest
import torch
from torch import nn

from overparam.compress import (
    amplification,
    materialise,
    rps_grad_scale,
    rps_mapping,
    share_parameters,
    stability_advice,
)


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def test_amplification_is_the_spectrum_of_the_update_operator():
    n, m = 40, 12
    index = rps_mapping("hashed", n, m, 0)
    lam = torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    signs = torch.randint(0, 2, (n,), generator=torch.Generator().manual_seed(1)) * 2.0 - 1
    p = torch.zeros(n, m, dtype=torch.float64)
    p[torch.arange(n), index] = lam * signs
    gamma = rps_grad_scale(index, lam, m, "v2")
    spectrum = torch.linalg.eigvalsh(p @ torch.diag(1 / gamma) @ p.T)[-m:]
    ours = amplification(index, lam, gamma).sort().values
    assert torch.allclose(ours, spectrum.clamp(min=0), atol=1e-12)


def test_stable_sharing_never_amplifies_a_single_scale():
    lam = 3.0
    index = rps_mapping("randomfold", 50, 7, 0)
    factors = amplification(index, lam, rps_grad_scale(index, lam, 7))
    assert torch.allclose(factors, torch.ones(7, dtype=torch.float64), rtol=1e-12)


def test_the_prediction_holds_on_a_quadratic():
    """Descent on |X w|^2 through the map diverges exactly above 2 / lambda_max."""
    shared = share_parameters(
        nn.Linear(8, 1, bias=False).double(), 2, seed=0, init_scale=0.01, grad_scale="none"
    )
    x = torch.eye(8, dtype=torch.float64)
    for factor, verdict in ((0.9, "stable"), (1.1, "diverges")):
        gain = stability_advice(shared, 1.0, sharpness=1.0).amplification_range
        assert gain[0] == pytest.approx(gain[1])
        lr = factor * 2 / gain[1]
        assert stability_advice(shared, lr, sharpness=1.0).verdict == verdict
        z = shared.shared.detach().clone()
        for _ in range(300):
            shared.shared.grad = None
            (0.5 * shared(x).square().sum()).backward()
            with torch.no_grad():
                shared.shared -= lr * shared.shared.grad
        assert (float(shared.shared.detach().norm()) > float(z.norm())) == (verdict == "diverges")
        shared.shared.data.copy_(z)


@pytest.mark.parametrize(
    ("s", "scaled", "verdict"),
    [
        (1e-3, False, "diverges"),
        (5.0, False, "frozen"),
        (1e-3, True, "stable"),
        (5.0, True, "stable"),
    ],
)
def test_verdicts_over_the_scale_of_z(s, scaled, verdict):
    shared = share_parameters(net(), 20, seed=0, init_scale=s)
    advice = stability_advice(shared, 0.1, momentum=0.9, scaled=scaled)
    assert advice.verdict == verdict
    assert advice.effective_lr == pytest.approx(0.1 * advice.amplification)
    assert advice.suggested_lr * advice.amplification == pytest.approx(0.1)
    low, high = advice.amplification_range
    assert low <= advice.amplification <= high


def test_bad_input():
    shared = share_parameters(net(), 20, seed=0)
    for arguments, message in (
        ({"lr": 0.0}, "lr is 0"),
        ({"lr": 0.1, "momentum": 1.0}, "momentum is 1"),
        ({"lr": 0.1, "sharpness": -1.0}, "sharpness is -1"),
        ({"lr": 0.1, "headroom": float("nan")}, "headroom is nan"),
    ):
        with pytest.raises(ValueError, match=message):
            stability_advice(shared, **arguments)
    with pytest.raises(TypeError, match="Sequential"):
        stability_advice(materialise(shared), 0.1)
