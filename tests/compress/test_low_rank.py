"""Low-rank layers: best approximations, exact geometry, exact counts."""

import copy
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from toys.model_zoo import ZOO

from overparam.compress import CannotTreat, LeftAlone, apply_masks, global_mask, score_mag
from overparam.compress.low_rank import low_rank_model, matricisations, svd_ways
from overparam.models import seeded

LAYERS = [
    partial(nn.Conv2d, 6, 8, 3, padding=1),
    partial(nn.Conv2d, 6, 8, (3, 2), stride=(2, 1), padding=(0, 1), bias=False),
    partial(nn.Conv2d, 6, 8, 3, dilation=(1, 2), padding="same"),
    partial(nn.Conv2d, 6, 12, 3, groups=2, padding=1, padding_mode="circular"),
    partial(nn.Conv2d, 6, 9, (2, 4), groups=3, padding=(0, 2), padding_mode="reflect"),
    partial(nn.Conv2d, 6, 6, 3, groups=6),
    partial(nn.Conv2d, 6, 8, 1),
    partial(nn.Conv1d, 6, 8, 5, stride=2, padding=2),
    partial(nn.Conv3d, 6, 8, 2, padding=1),
    partial(nn.Linear, 6, 9),
    partial(nn.Embedding, 12, 6, padding_idx=3),
]


def count(model):
    return sum(p.numel() for p in model.parameters())


def quiet(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeftAlone)
        return function(*arguments, **options)


def example(layer):
    generator = torch.Generator().manual_seed(1)
    if isinstance(layer, nn.Embedding):
        return torch.arange(12)
    if isinstance(layer, nn.Linear):
        return torch.randn(4, 6, generator=generator)
    sizes = [7, 8, 5][: len(layer.kernel_size)]
    return torch.randn(2, 6, *sizes, generator=generator)


@pytest.mark.parametrize("make", LAYERS)
def test_full_rank_gives_the_same_outputs(make):
    layer = seeded(make, 0)
    ways = matricisations(layer)
    assert len(ways) == 1 + (isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1))
    for way in ways:
        chain = way.build(*way.factors(min(way.matrices.shape[1:])))
        assert torch.allclose(chain(example(layer)), layer(example(layer)), atol=1e-5)
        assert [type(part).__name__ for part in chain][-1] in type(layer).__name__ + "Linear"


@pytest.mark.parametrize("make", LAYERS)
def test_factors_are_the_best_of_their_rank_and_energy_is_what_is_discarded(make):
    for way in matricisations(seeded(make, 0)):
        rank = max(1, min(way.matrices.shape[1:]) // 2)
        left, right = way.factors(rank)
        total, error = 0.0, 0.0
        for matrix, product in zip(way.matrices, left @ right, strict=True):
            u, s, vh = np.linalg.svd(matrix.double().numpy())
            best = (u[:, :rank] * s[:rank]) @ vh[:rank]
            assert np.allclose(product.detach().numpy(), best, atol=1e-5)
            total, error = total + float((s**2).sum()), error + float((s[rank:] ** 2).sum())
        assert way.energies()[rank - 1] == pytest.approx(1 - error / total, abs=1e-6)
        assert way.cost * rank == left.numel() + right.numel()


@pytest.mark.parametrize("make", LAYERS)
def test_every_choice_is_counted_exactly_and_keeps_the_energy_it_promises(make):
    layer = seeded(make, 0)
    ways = svd_ways(layer)
    biases = 0 if getattr(layer, "bias", None) is None else layer.bias.numel()
    for choice, cost in enumerate(ways.choices.cost):
        chain = ways.build(choice)
        assert count(chain) - biases == cost < layer.weight.numel()
        if biases:
            assert chain[-1].bias is layer.bias
    assert (ways.choices.energy > 0).all() and (ways.choices.energy <= 1).all()


def test_the_padding_row_stays_zero():
    layer = seeded(partial(nn.Embedding, 12, 6, padding_idx=3), 0)
    chain = svd_ways(layer).build(1)
    assert not chain(torch.tensor([3])).any() and chain[0].padding_idx == 3


def test_a_separable_kernel_is_found_to_be_one():
    layer = seeded(partial(nn.Conv2d, 4, 4, 5, groups=4, bias=False), 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        rows = torch.randn(4, 1, 5, 1, generator=generator)
        layer.weight.copy_(rows * torch.randn(4, 1, 1, 5, generator=generator))
    small = low_rank_model(layer, energy=0.999)
    assert count(small) == 4 * 10 and [c.kernel_size for c in small] == [(5, 1), (1, 5)]
    x = torch.randn(2, 4, 9, 9, generator=generator)
    assert torch.allclose(small(x), layer(x), atol=1e-5)


def test_an_energy_is_kept_by_every_layer_at_the_least_rank():
    net = seeded(lambda: nn.Sequential(nn.Linear(30, 20), nn.Linear(20, 25)), 0)
    small = low_rank_model(net, energy=0.6)
    for layer, chain in zip(net, small, strict=True):
        s = np.linalg.svd(layer.weight.detach().numpy(), compute_uv=False) ** 2
        rank = chain[0].out_features
        assert s[:rank].sum() >= 0.6 * s.sum() > s[: rank - 1].sum()


@pytest.mark.parametrize("name", ZOO)
def test_the_budget_is_kept_and_nearly_used_up(name):
    toy = ZOO[name]
    model = toy.factory()
    before = copy.deepcopy(model.state_dict())
    budget = round(count(model) / 1.15)
    small = quiet(low_rank_model, model, parameters=budget, call=toy.call)
    assert budget * 0.75 <= count(small) <= budget
    assert small.training and all(part.training for part in small.modules())
    assert toy.call(small.eval()).shape == toy.call(model.eval()).shape
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_a_shared_module_is_factored_once_for_all_its_places():
    net = ZOO["shared_module"].factory()
    net.again.weight.data = torch.ones(12, 12)
    small = quiet(low_rank_model, net, energy=0.99)
    assert small.blocks[0][0] is small.blocks[1][0] is small.again
    assert isinstance(small.again, nn.Sequential) and count(small) == 24 + 12 + 52
    x = ZOO["shared_module"].inputs
    assert torch.allclose(small(x), net(x), atol=1e-4)


def reasons(model, **options):
    with pytest.warns(LeftAlone) as caught:
        low_rank_model(model, **options)
    return [str(warning.message) for warning in caught]


def test_what_is_left_alone_is_named_with_its_reason():
    class OwnLinear(nn.Linear):
        def forward(self, x):
            return super().forward(x) * 2

    net = seeded(
        lambda: nn.Sequential(
            nn.Linear(20, 20), OwnLinear(20, 20), nn.Linear(20, 20), nn.Linear(20, 20),
            nn.Linear(20, 20), nn.Linear(20, 1),
        ),
        0,
    )  # fmt: skip
    net[2].weight.requires_grad_(False)
    net[4].weight = net[3].weight
    assert reasons(net, parameters=count(net) - 100) == [
        "1: OwnLinear computes in its own way, left dense",
        "2: frozen, left dense",
        "3: the weight is tied to that of 4, left dense",
        "4: the weight is tied to that of 3, left dense",
        "5: no rank would save anything, left dense",
    ]


def test_layers_that_the_model_does_not_call_are_found():
    toy = ZOO["encoder"]
    words = reasons(toy.factory(), energy=0.5, call=toy.call)
    assert any("out_proj" in word and "does more with it than call it" in word for word in words)
    assert any("MultiheadAttention is no layer" in word for word in words)
    assert not any("linear1" in word for word in words)


def test_a_transformer_layer_infers_with_its_factors():
    toy = ZOO["encoder"]
    model = toy.factory().eval()
    u, s, v = torch.linalg.svd(model.layer.linear1.weight.detach(), full_matrices=False)
    model.layer.linear1.weight.data = (u[:, :3] * s[:3]) @ v[:3]
    small = quiet(low_rank_model, model, energy=1 - 1e-10, call=toy.call)
    assert isinstance(small.layer.linear1, nn.Sequential)
    with torch.no_grad():
        assert torch.allclose(toy.call(small), toy.call(model), atol=1e-5)


def test_a_masked_layer_is_factored_as_it_computes():
    net = seeded(lambda: nn.Sequential(nn.Linear(30, 30)), 0)
    masked = apply_masks(net, global_mask(score_mag(net), 0.5))
    small = low_rank_model(masked, parameters=700)
    chain = small[0]
    product = chain[1].weight @ chain[0].weight
    u, s, vh = torch.linalg.svd(masked[0].weight.detach())
    rank = chain[0].out_features
    assert torch.allclose(product, (u[:, :rank] * s[:rank]) @ vh[:rank], atol=1e-5)
    assert type(chain[0]) is nn.Linear


@pytest.mark.parametrize("options", [{}, {"parameters": 9, "energy": 0.5}])
def test_either_a_budget_or_an_energy(options):
    with pytest.raises(ValueError, match="exactly one of parameters and energy"):
        low_rank_model(nn.Linear(9, 9), **options)


def test_what_cannot_be_done_says_why():
    net = nn.Sequential(nn.Linear(20, 20), nn.BatchNorm1d(20))
    with pytest.raises(CannotTreat, match=r"99 parameters .* there are 100, 60 of them"):
        low_rank_model(net, parameters=99)
    with pytest.raises(CannotTreat, match="no layer that can be factored"):
        low_rank_model(nn.ReLU(), parameters=99)


def test_no_random_number_is_drawn():
    state = torch.get_rng_state()
    low_rank_model(ZOO["conv_bn"].factory(), energy=0.5)
    assert torch.equal(state, torch.get_rng_state())


def test_a_zero_weight_and_half_precision():
    net = nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 20)).to(torch.bfloat16)
    nn.init.zeros_(net[0].weight)
    small = low_rank_model(net, parameters=400)
    assert small[0][0].weight.dtype == torch.bfloat16 and small[0][0].out_features == 1
    assert small(torch.ones(2, 20, dtype=torch.bfloat16)).isfinite().all()
