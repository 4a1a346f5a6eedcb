import math
from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import nn

from overparam.compress import (
    GradientScaling,
    apply_masks,
    attach_gradient_scaling,
    materialise,
    score_mag,
    share_parameters,
)
from overparam.compress.sharing import memory_size
from overparam.training import Ensemble, batch_orders, fit

MAPPINGS = [("hashed", None), ("roast", (3, 2)), ("randomfold", None)]


def mlp(seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)


def dense_map(shared):
    """P (n, m) of w = P z, and the flat order of its rows."""
    p = torch.zeros(shared.layout.n, shared.layout.m, dtype=torch.float64)
    start = 0
    for t, slot in enumerate(shared.slots):
        rows = torch.arange(start, start + slot.size)
        p[rows, shared.bucket_index(t)] = shared.signed_scale(t).double()
        start += slot.size
    return p


@pytest.mark.parametrize(("mapping", "tile"), MAPPINGS)
@pytest.mark.parametrize("cache_index", [True, False])
def test_gradient_equals_transposed_dense_map(mapping, tile, cache_index):
    shared = share_parameters(mlp(), 4, seed=1, mapping=mapping, tile=tile, cache_index=cache_index)
    x = torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shared(x).square().sum().backward()
    plain = materialise(shared)
    plain(x).square().sum().backward()
    dw = torch.cat([plain[0].weight.grad.flatten(), plain[2].weight.grad.flatten()])
    p = dense_map(shared)
    assert torch.allclose(shared.shared.grad, p.T @ dw, rtol=1e-10, atol=1e-12)
    w = torch.cat([plain[0].weight.flatten(), plain[2].weight.flatten()])
    assert torch.allclose(p @ shared.shared, w, rtol=1e-12)
    assert torch.allclose(shared.skeleton[0].bias.grad, plain[0].bias.grad)


@pytest.mark.parametrize(("mapping", "tile"), MAPPINGS)
def test_recomputed_indices_equal_cached_ones_under_vmap_too(mapping, tile):
    make = partial(share_parameters, compression=3, mapping=mapping, tile=tile)
    x = torch.randn(4, 6, dtype=torch.float64)
    ensembles = [
        Ensemble([make(mlp(s), seed=s, cache_index=cache) for s in (1, 2, 3)])
        for cache in (True, False)
    ]
    losses = [e(x, shared=True).square().sum() for e in ensembles]
    grads = [
        torch.autograd.grad(loss, e.parameters["shared"])[0]
        for loss, e in zip(losses, ensembles, strict=True)
    ]
    assert torch.equal(losses[0], losses[1])
    assert torch.allclose(grads[0], grads[1], rtol=1e-13, atol=1e-15)
    assert (grads[0] != 0).any(1).all()
    kept = dict(make(mlp(), seed=1, cache_index=False).named_buffers())
    assert "index" not in kept and "scale" not in kept


def test_indices_are_int32_and_state_is_small():
    shared = share_parameters(mlp(), 4, seed=1)
    assert shared.index.dtype == torch.int32
    assert set(shared.state_dict()) == {
        "shared", "layer_scale", "hash_coefficients", "skeleton.0.bias", "skeleton.2.bias",
    }  # fmt: skip
    assert next(n for n, _ in shared.named_parameters()) == "shared"
    assert "grad_scale" not in dict(shared.named_parameters())


@pytest.mark.parametrize("convention", ["true_std", "official"])
def test_scale_matches_the_initialiser(convention):
    model, s = mlp(), 0.3
    shared = share_parameters(model, 2, seed=0, init_scale=s, lam_convention=convention)
    spread = s / math.sqrt(3) if convention == "true_std" else s
    for lam, layer in zip(shared.layer_scale, (model[0], model[2]), strict=True):
        assert lam.item() * spread == pytest.approx(float(layer.weight.detach().std()), rel=1e-12)
    assert float(shared.shared.detach().abs().max()) <= s


def test_virtual_variance_equals_dense_variance_in_the_mean():
    model = nn.Linear(64, 64)
    variances = [
        share_parameters(model, 8, seed=s).virtual_weights()["weight"].var().item()
        for s in range(40)
    ]
    assert sum(variances) / 40 == pytest.approx(model.weight.var().item(), rel=0.03)


def test_signs_can_be_switched_off():
    shared = share_parameters(mlp(), 4, seed=1, sign=False)
    assert (shared.scale > 0).all()
    assert (share_parameters(mlp(), 4, seed=1).scale < 0).any()


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 4, padding_idx=2)
        self.conv1 = nn.Conv1d(4, 6, 3, padding=2, dilation=2, padding_mode="circular", groups=2)
        self.conv2 = nn.Conv2d(1, 2, 3, stride=2, padding=1, padding_mode="reflect", bias=False)
        self.conv3 = nn.Conv3d(1, 2, 2)
        self.norm = nn.BatchNorm1d(6)
        self.head = nn.Linear(6, 5)

    def forward(self, tokens):
        h = self.conv1(self.embed(tokens).transpose(1, 2))
        image = self.conv2(h[:, None]).mean((1, 2, 3))
        volume = self.conv3(h[:, None, :, :, None].expand(-1, -1, -1, -1, 2)).mean((1, 2, 3, 4))
        return self.head(self.norm(h).mean(2)) + image[:, None] + volume[:, None]


@pytest.mark.parametrize("cache_index", [True, False])
def test_every_layer_kind_keeps_its_settings(cache_index):
    torch.manual_seed(0)
    model = Mixed().eval()
    shared = share_parameters(model, 3, seed=4, cache_index=cache_index)
    tokens = torch.randint(0, 11, (3, 8))
    weights = shared.virtual_weights()
    reference = deepcopy(model)
    with torch.no_grad():
        for name, weight in weights.items():
            reference.get_parameter(name).copy_(weight)
    assert torch.allclose(shared(tokens), reference(tokens), atol=1e-6)
    plain = materialise(shared)
    assert torch.equal(plain(tokens), reference(tokens))
    assert set(plain.state_dict()) == set(model.state_dict())
    assert (weights["embed.weight"][2] == 0).all() and (weights["embed.weight"][3] != 0).all()
    assert len(weights) == 5 and shared.layout.n == sum(w.numel() for w in weights.values())
    assert torch.equal(plain.head.bias, model.head.bias)


def test_padding_row_does_not_count_as_load():
    table = nn.Embedding(4, 5, padding_idx=1)
    shared = share_parameters(table, 1, seed=0)
    lam = float(shared.layer_scale[0])
    unused = shared.bucket_index(0).view(4, 5)[1]
    assert torch.allclose(shared.grad_scale[unused], torch.ones(5))
    assert (shared.grad_scale != 1).sum() == 15
    assert float(shared.grad_scale.median()) == pytest.approx(lam**2, rel=1e-5)


def test_tied_weights_get_one_slot_and_stay_tied():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(7, 4)
            self.out = nn.Linear(4, 7, bias=False)
            self.out.weight = self.embed.weight

        def forward(self, tokens):
            return self.out(self.embed(tokens))

    model, tokens = Tied(), torch.arange(7)
    shared = share_parameters(model, 2, seed=0)
    assert shared.layout.n == 28 and shared.slots[0].aliases == ("embed.weight", "out.weight")
    plain = materialise(shared)
    assert plain.out.weight is plain.embed.weight
    assert torch.equal(plain(tokens), shared(tokens))


def test_skip_and_min_params():
    model = mlp()
    shared = share_parameters(model, 2, seed=0, skip=("2",))
    assert [s.name for s in shared.slots] == ["0.weight"]
    assert torch.equal(shared.skeleton[2].weight, model[2].weight)
    shared = share_parameters(model, 2, seed=0, min_params=25)
    assert [s.name for s in shared.slots] == ["0.weight"]
    with pytest.raises(ValueError, match=r"'nothing'.*0\.weight"):
        share_parameters(model, 2, seed=0, skip=["nothing"])


def test_the_dense_model_is_untouched_and_the_seed_decides():
    model = mlp()
    before = deepcopy(model.state_dict())
    a, b, c = (share_parameters(model, 2, seed=s) for s in (1, 1, 2))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(a.shared, b.shared) and torch.equal(a.index, b.index)
    assert not torch.equal(a.shared, c.shared) and not torch.equal(a.index, c.index)


@pytest.mark.parametrize("cache_index", [True, False])
def test_state_dict_carries_the_map(cache_index):
    model, x = mlp(), torch.randn(3, 6, dtype=torch.float64)
    source = share_parameters(model, 4, seed=1, cache_index=cache_index)
    target = share_parameters(mlp(5), 4, seed=2, cache_index=cache_index)
    assert not torch.allclose(source(x), target(x))
    target.load_state_dict(source.state_dict())
    assert torch.equal(source(x), target(x)) and torch.equal(source.grad_scale, target.grad_scale)
    copy = deepcopy(source)
    assert torch.equal(source(x), copy(x))
    assert copy.shared is not source.shared
    assert source.float()(x.float()).dtype == torch.float32


def test_materialise_reaches_shared_parts_of_a_larger_model():
    part = share_parameters(mlp(), 4, seed=0)
    whole = nn.Sequential(part, nn.Linear(3, 2).double())
    plain = materialise(whole)
    x = torch.randn(2, 6, dtype=torch.float64)
    assert torch.equal(plain(x), whole(x))
    assert [type(m) for m in plain] == [nn.Sequential, nn.Linear]
    assert list(dict(plain.named_buffers())) == []


def test_ensemble_of_shared_models_trains_as_each_alone():
    x = torch.randn(32, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y = torch.arange(32) % 3
    seeds = (3, 5)
    make = partial(share_parameters, compression=4, init_scale=0.01)
    optimizer = partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=1e-3)
    ensemble = Ensemble([make(mlp(s), seed=s) for s in seeds])
    orders = batch_orders(32, 4, seeds)
    fit(
        ensemble, x, y, epochs=4, batch_size=8, optimizer=optimizer, orders=orders,
        callbacks=[GradientScaling()],
    )  # fmt: skip
    for e, (seed, member) in enumerate(zip(seeds, ensemble.members(), strict=True)):
        alone = make(mlp(seed), seed=seed)
        descent = optimizer(alone.parameters())
        attach_gradient_scaling(descent, alone)
        for epoch in range(4):
            for batch in orders[e, epoch].split(8):
                descent.zero_grad()
                nn.functional.cross_entropy(alone(x[batch]), y[batch]).backward()
                descent.step()
        assert torch.allclose(member.shared, alone.shared, rtol=1e-9)
        assert torch.allclose(member(x), alone(x), rtol=1e-9)


def test_gradient_scaling_callback_refuses_an_ensemble_without_sharing():
    ensemble = Ensemble([mlp()])
    with pytest.raises(ValueError, match="shared"):
        fit(
            ensemble, torch.zeros(4, 6, dtype=torch.float64), torch.zeros(4, dtype=torch.int64),
            epochs=1, batch_size=4, optimizer=partial(torch.optim.SGD, lr=0.1),
            orders=batch_orders(4, 1, (0,)), callbacks=[GradientScaling()],
        )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"compression": 0.5}, "compression is 0.5"),
        ({"compression": math.inf}, "compression is inf"),
        ({"compression": 1000}, "m = 0"),
        ({"mapping": "fold"}, "fold"),
        ({"mapping": "roast"}, r"\(32, 32\).*m = 18"),
        ({"init_scale": 0.0}, "init_scale is 0"),
        ({"lam_convention": "std"}, "lam_convention is 'std'"),
        ({"grad_scale": "v6"}, "v6"),
        ({"guard": "hard"}, "hard"),
        ({"min_params": 100}, "no weight"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        share_parameters(mlp(), **{"compression": 4, "seed": 0, **change})


def test_memory_size_is_the_floor():
    assert memory_size(84480, 500) == 168
    assert memory_size(84480, 1) == 84480


def refuse(model, message, error=ValueError, **options):
    with pytest.raises(error, match=message):
        share_parameters(model, 2, seed=0, **options)


def test_bad_models():
    refuse(nn.Sequential(nn.BatchNorm1d(4), nn.ReLU()), "no weight")
    refuse("model", "torch.nn.Module, got str", TypeError)
    refuse(mlp(), "skip", TypeError, skip="0")
    complex_layer = nn.Linear(3, 3, dtype=torch.complex64)
    refuse(nn.Sequential(complex_layer), r"'0\.weight' has dtype torch.complex64", TypeError)
    refuse(nn.Sequential(nn.LazyLinear(3)), r"'0\.weight' is not initialised")
    refuse(
        nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3).double()), r"'1\.weight' is torch.float64"
    )
    zero = mlp()
    nn.init.zeros_(zero[2].weight)
    refuse(zero, r"'2\.weight' has standard deviation 0")
    refuse(nn.Sequential(nn.Embedding(4, 3, max_norm=1.0)), r"'0\.weight'.*max_norm=1.0")
    refuse(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)), "'weight' is computed")


def test_shared_masked_and_partly_tied_models_are_refused():
    refuse(share_parameters(mlp(), 2, seed=0), "no weight")
    refuse(nn.Sequential(share_parameters(mlp(), 2, seed=0), nn.Linear(3, 3)), "'0' shares")
    masked = apply_masks(mlp(), {n: s > 0 for n, s in score_mag(mlp()).items()})
    refuse(masked, r"'0\.weight' is masked")
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    refuse(tied, r"'0\.weight' is tied to '1\.weight'", skip=["1"])
    tied = nn.Sequential(nn.Linear(4, 4))
    tied.register_parameter("scale", tied[0].weight)
    refuse(tied, r"'0\.weight' is tied to 'scale'")
    overlapping = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    overlapping[1].weight = nn.Parameter(overlapping[0].weight.data.t())
    refuse(overlapping, "share memory")
