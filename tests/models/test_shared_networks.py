import pytest
import torch
from torch import nn

from overparam.models import MLP, SmallConvNet, VGGSmall, count_parameters, seeded


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (MLP((64, 256, 256, 10)), 64 * 256 + 256 * 256 + 256 * 10 + 522),
        (MLP((64, 32, 10)), 2410),  # the D of Li et al. (2018) for this net
        (MLP((64, 200, 200, 10)), 55_210),
        (MLP((4, 3, 2), bias=False, norm="layer"), 12 + 6 + 6),
        (SmallConvNet(), 8 * 9 + 8 + 16 * 8 * 9 + 16 + 64 * 10 + 10),
        (SmallConvNet((2, 40), (8, 16)), 8 * 6 + 8 + 16 * 24 + 16 + 160 * 10 + 10),
        (VGGSmall(width=4), 9 * (4 + 16 + 32 + 64) + 2 * (4 + 4 + 8 + 8) + 32 * 10 + 10),
    ],
)
def test_parameter_counts(model, expected):
    assert count_parameters(model) == expected


def test_count_of_trainable_and_tied_parameters():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[0].weight.requires_grad_(False)
    assert (count_parameters(net), count_parameters(net, trainable=True)) == (24, 15)
    net[1].weight = net[0].weight
    assert count_parameters(net) == 15


def test_mlp_is_the_formula():
    net = seeded(lambda: MLP((5, 4, 3), "tanh"), 0).double()
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    first, last = net.layers[0], net.layers[2]
    expected = torch.tanh(x @ first.weight.T + first.bias) @ last.weight.T + last.bias
    torch.testing.assert_close(net(x), expected)
    linear = seeded(lambda: MLP((5, 4, 3), "identity", bias=False), 0).double()
    torch.testing.assert_close(linear(2 * x), 2 * linear(x))


@pytest.mark.parametrize("model", [SmallConvNet((1, 8, 8)), VGGSmall((1, 8, 8), width=2)])
def test_images_may_come_flat(model):
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.eval()(x), model(x.flatten(1)))


@pytest.mark.parametrize("shape", [(3, 28, 28), (1, 9, 11), (2, 40), (1, 41)])
def test_other_input_shapes(shape):
    x = torch.zeros(2, *shape)
    assert SmallConvNet(shape, classes=7)(x).shape == (2, 7)
    assert VGGSmall(shape, width=2, classes=7)(x).shape == (2, 7)


def test_vgg_normalises_every_convolution():
    kinds = [type(m).__name__ for m in VGGSmall().features]
    assert kinds == (["Conv2d", "BatchNorm2d", "ReLU"] * 2 + ["MaxPool2d"]) * 2


def test_same_seed_same_weights_whatever_ran_before():
    def draw(seed):
        return torch.cat([p.flatten() for p in seeded(lambda: MLP((4, 3, 2)), seed).parameters()])

    first = draw(5)
    state = torch.random.get_rng_state()
    torch.rand(3, generator=torch.default_generator)
    assert torch.equal(draw(5), first) and not torch.equal(draw(6), first)
    torch.random.set_rng_state(state)
    draw(7)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MLP((3,)), "at least two numbers"),
        (lambda: MLP((3, 0, 2)), "each >= 1"),
        (lambda: MLP((3, 2), activation="swish"), "allowed: relu, gelu"),
        (lambda: MLP((3, 2), norm="group"), "allowed: batch, layer"),
        (lambda: SmallConvNet((8, 8, 8, 8)), r"\(C, H, W\) or \(C, L\)"),
        (lambda: SmallConvNet((1, 3, 8)), "every side must be at least 4"),
        (lambda: SmallConvNet((1, 8, 8), channels=(0,)), "each >= 1"),
        (lambda: VGGSmall((1, 8, 8), width=0), "width=0"),
        (lambda: seeded(MLP, -1), "seed=-1"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
