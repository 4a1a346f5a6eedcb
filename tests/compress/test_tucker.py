"""Tucker-2 convolutions: exact at full rank, exact energies, exact geometry, exact counts."""

import copy
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from toys.model_zoo import ZOO

from overparam.compress import CannotTreat, LeftAlone
from overparam.compress.tucker import hooi, tucker_model, tucker_ways
from overparam.models import seeded

LAYERS = [
    partial(nn.Conv2d, 12, 10, 3, padding=1),
    partial(nn.Conv2d, 12, 10, (3, 2), stride=(2, 1), padding=(0, 1), bias=False),
    partial(nn.Conv2d, 12, 10, 3, dilation=(1, 2), padding="same", padding_mode="reflect"),
    partial(nn.Conv2d, 12, 8, 3, groups=2, padding=1, padding_mode="circular"),
    partial(nn.Conv1d, 12, 10, 5, stride=2, padding=2),
    partial(nn.Conv3d, 12, 10, 2, padding=1),
]
GENERATOR = torch.Generator().manual_seed(0)


def count(model):
    return sum(p.numel() for p in model.parameters())


def stack(layer):
    weight = layer.weight.detach().double()
    return weight.unflatten(0, (layer.groups, -1)).flatten(3)


def example(layer):
    sizes = [7, 8, 5][: len(layer.kernel_size)]
    return torch.randn(2, 12, *sizes, generator=GENERATOR)


def low_rank_in_both_modes(layer, rank_out, rank_in):
    """Make the layer's weight one of these ranks."""
    u, v, core = hooi(stack(layer), rank_out, rank_in)
    weight = torch.einsum("grsk,gor,gis->goik", core, u, v)
    with torch.no_grad():
        layer.weight.copy_(weight.reshape(layer.weight.shape))
    return layer


@pytest.mark.parametrize("make", LAYERS)
def test_a_weight_of_those_ranks_gives_the_same_outputs(make):
    layer = low_rank_in_both_modes(seeded(make, 0), 2, 3)
    chain = tucker_model(layer, energy=1 - 1e-10)
    groups, points = layer.groups, int(np.prod(layer.kernel_size))
    assert [(part.in_channels, part.out_channels) for part in chain] == [
        (12, 3 * groups), (3 * groups, 2 * groups), (2 * groups, layer.out_channels)
    ]  # fmt: skip
    x = example(layer)
    assert torch.allclose(chain(x), layer(x), atol=1e-5)
    biases = 0 if layer.bias is None else layer.out_channels
    assert (
        count(chain) - biases == groups * (12 // groups * 3 + 6 * points) + layer.out_channels * 2
    )
    assert chain[2].bias is None if layer.bias is None else torch.equal(chain[2].bias, layer.bias)


def test_full_ranks_are_exact():
    weight = torch.randn(2, 5, 7, 9, generator=GENERATOR, dtype=torch.float64)
    u, v, core = hooi(weight, 5, 7)
    assert torch.allclose(torch.einsum("grsk,gor,gis->goik", core, u, v), weight, atol=1e-10)


@pytest.mark.parametrize(("rank_out", "rank_in"), [(1, 1), (2, 5), (4, 3), (5, 2)])
def test_the_error_is_the_energy_that_the_core_does_not_hold(rank_out, rank_in):
    weight = torch.randn(1, 5, 7, 4, generator=GENERATOR, dtype=torch.float64)
    u, v, core = hooi(weight, rank_out, rank_in)
    for factor in (u, v):
        eye = torch.eye(factor.shape[2], dtype=torch.float64)
        assert torch.allclose(factor.transpose(1, 2) @ factor, eye[None], atol=1e-10)
    product = torch.einsum("grsk,gor,gis->goik", core, u, v)
    error = (weight - product).square().sum()
    assert torch.allclose(error, weight.square().sum() - core.square().sum(), rtol=1e-10)
    # One mode at full rank: the best approximation is the SVD of the other unfolding.
    whole, _, _ = hooi(weight, rank_out, 7)
    best = torch.linalg.svdvals(weight[0].flatten(1))[:rank_out].square().sum()
    assert torch.allclose(torch.einsum("goik,gor->grik", weight, whole).square().sum(), best)


def test_the_iteration_reaches_a_stationary_point_no_worse_than_it_started():
    weight = torch.randn(1, 8, 9, 4, generator=GENERATOR, dtype=torch.float64)
    _, v, core = hooi(weight, 3, 2)
    modes = [weight[0].flatten(1), weight[0].transpose(0, 1).flatten(1)]
    start = [
        torch.linalg.svd(m, full_matrices=False).U[:, :r]
        for m, r in zip(modes, (3, 2), strict=True)
    ]
    truncated = torch.einsum("oik,or,is->rsk", weight[0], *start).square().sum()
    assert core.square().sum() >= truncated - 1e-12
    projected = torch.einsum("oik,is->osk", weight[0], v[0]).flatten(1)
    best = torch.linalg.svdvals(projected)[:3].square().sum()
    assert torch.allclose(core.square().sum(), best, rtol=1e-5)


@pytest.mark.parametrize("make", LAYERS)
def test_promised_energies_are_those_of_the_truncated_higher_order_svd(make):
    layer = seeded(make, 0)
    ways = tucker_ways(layer)
    weight = stack(layer)
    total = weight.square().sum()
    u = torch.linalg.svd(weight.flatten(2), full_matrices=False).U
    v = torch.linalg.svd(weight.transpose(1, 2).flatten(2), full_matrices=False).U
    for choice in range(0, len(ways.choices.cost), 7):
        chain = ways.build(choice)
        groups = layer.groups
        rank_out, rank_in = chain[1].out_channels // groups, chain[1].in_channels // groups
        core = torch.einsum("goik,gor,gis->grsk", weight, u[..., :rank_out], v[..., :rank_in])
        assert ways.choices.energy[choice] == pytest.approx(float(core.square().sum() / total))
        kept = chain[1].weight.detach().double().square().sum() / total
        assert kept >= ways.choices.energy[choice] - 1e-6
        biases = 0 if layer.bias is None else layer.out_channels
        assert count(chain) - biases == ways.choices.cost[choice] < layer.weight.numel()


@pytest.mark.parametrize("name", ZOO)
def test_nets_with_convolutions_are_treated_and_others_refused(name):
    toy = ZOO[name]
    model = toy.factory()
    before = copy.deepcopy(model.state_dict())
    budget = round(count(model) / 1.05)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeftAlone)
        if not any(isinstance(m, nn.Conv1d | nn.Conv2d) for m in model.modules()):
            with pytest.raises(CannotTreat, match="no layer that can be factored"):
                tucker_model(model, parameters=budget, call=toy.call)
            return
        small = tucker_model(model, parameters=budget, call=toy.call)
    assert budget * 0.9 <= count(small) <= budget
    assert toy.call(small.eval()).shape == toy.call(model.eval()).shape
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_what_is_left_alone_is_named():
    net = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 3))
    with pytest.warns(LeftAlone) as caught:
        tucker_model(net, energy=0.3)
    assert [str(w.message) for w in caught] == [
        "0: its kernel is a point, a matrix, left dense",
        "1: no rank would save anything, left dense",
    ]


@pytest.mark.parametrize(
    ("ranks", "words"), [((0, 1), "rank_out is 0"), ((1, 8), r"rank_in is 8; allowed 1\.\.7")]
)
def test_ranks_out_of_range_are_refused(ranks, words):
    with pytest.raises(ValueError, match=words):
        hooi(torch.zeros(1, 5, 7, 4), *ranks)
