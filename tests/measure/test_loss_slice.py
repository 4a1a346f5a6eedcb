import numpy as np
import pytest
import torch
import torch.nn.functional as F

from overparam.measure import filter_normalised, loss_slice_1d, loss_slice_2d
from overparam.models import MLP, SmallConvNet, seeded

MODEL = seeded(lambda: MLP((4, 6, 2)), 0).double()
GENERATOR = torch.Generator().manual_seed(0)
DATA = (
    torch.randn(9, 4, generator=GENERATOR, dtype=torch.float64),
    torch.randn(9, 2, generator=GENERATOR, dtype=torch.float64),
)


@pytest.mark.parametrize("model", [MODEL, SmallConvNet((1, 8, 8)), SmallConvNet((2, 40))])
def test_filters_of_the_direction_are_as_long_as_the_models(model):
    direction = filter_normalised(model, seed=3)
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            assert not direction[name].any()
        else:
            ours, theirs = direction[name].flatten(1), parameter.detach().flatten(1)
            assert torch.allclose(ours.norm(dim=1), theirs.norm(dim=1))
            assert not torch.allclose(ours, theirs)
    again = filter_normalised(model, seed=3)
    assert all(torch.equal(direction[name], again[name]) for name in direction)


def test_slices_equal_moving_the_weights_by_hand():
    before = {name: t.clone() for name, t in MODEL.state_dict().items()}
    line = loss_slice_1d(MODEL, F.mse_loss, DATA, span=0.5, points=5, seed=1)
    plane = loss_slice_2d(MODEL, F.mse_loss, DATA, span=0.5, points=5, seed=1)
    assert all(torch.equal(t, before[name]) for name, t in MODEL.state_dict().items())
    np.testing.assert_allclose(line.steps, [-0.5, -0.25, 0, 0.25, 0.5])
    np.testing.assert_allclose(plane.losses[:, 2], line.losses, atol=1e-14)
    first, second = filter_normalised(MODEL, 1), filter_normalised(MODEL, 2)
    for i, a in enumerate(plane.steps):
        for j, b in enumerate(plane.steps):
            moved = {n: w + a * first[n] + b * second[n] for n, w in before.items()}
            out = torch.func.functional_call(MODEL, moved, DATA[0])
            assert plane.losses[i, j] == pytest.approx(F.mse_loss(out, DATA[1]).item())


def test_rescaled_relu_nets_have_the_same_slice():
    """The point of the normalisation: the function and its slice do not know the layers' scales."""
    other = seeded(lambda: MLP((4, 6, 2), bias=False), 0).double()
    scaled = seeded(lambda: MLP((4, 6, 2), bias=False), 0).double()
    with torch.no_grad():
        scaled.layers[0].weight.mul_(8)
        scaled.layers[2].weight.div_(8)
    lines = [loss_slice_1d(net, F.mse_loss, DATA, points=7, seed=5) for net in (other, scaled)]
    np.testing.assert_allclose(lines[0].losses, lines[1].losses)


def test_a_direction_of_ones_own():
    ones = {name: torch.ones_like(p) for name, p in MODEL.named_parameters()}
    line = loss_slice_1d(MODEL, F.mse_loss, DATA, points=3, direction=ones, subset=4)
    moved = {name: p + 1 for name, p in MODEL.named_parameters()}
    out = torch.func.functional_call(MODEL, moved, DATA[0][:4])
    assert line.losses[-1] == pytest.approx(F.mse_loss(out, DATA[1][:4]).item())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"span": 0.0}, "span=0"),
        ({"points": 1}, "points=1"),
        ({"seed": -1}, "seed=-1"),
        ({"direction": {"layers.0.weight": torch.zeros(2)}}, r"'layers\.0\.weight'"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        loss_slice_1d(MODEL, F.mse_loss, DATA, **options)
