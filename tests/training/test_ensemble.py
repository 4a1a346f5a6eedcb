import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from overparam.models import MLP, SmallConvNet, VGGSmall, seeded
from overparam.training import Ensemble


def members(factory, size=3, dtype=torch.float64):
    return [seeded(factory, seed).to(dtype) for seed in range(size)]


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class Strided(nn.Module):
    """Grouped, strided, dilated convolutions and a padded pooling, one of them without bias."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2)
        self.b = nn.Conv2d(4, 8, 3, padding=2, dilation=2, bias=False)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True)

    def forward(self, x):
        return self.pool(torch.tanh(self.b(torch.tanh(self.a(x))))).flatten(1)


class FixedFilter(nn.Module):
    """A filter that belongs to no member, on an input that may be shared."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.rand(1))

    def forward(self, x):
        smooth = torch.nn.functional.conv2d(x, torch.ones(1, 2, 3, 3, dtype=x.dtype))
        return (self.gain * torch.nn.functional.max_pool2d(smooth, 2)).flatten(1)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, 5)
        self.outer = nn.Linear(5, 5)
        self.outer.weight = self.inner.weight

    def forward(self, x):
        return self.outer(torch.tanh(self.inner(x)))


ARCHITECTURES = {
    "mlp": (lambda: MLP((6, 5, 4)), (6,)),
    "mlp without bias": (lambda: MLP((6, 5, 4), "tanh", bias=False), (6,)),
    "batch norm": (lambda: MLP((6, 5, 4), norm="batch"), (6,)),
    "layer norm": (lambda: MLP((6, 5, 4), norm="layer"), (6,)),
    "convolutions": (lambda: SmallConvNet((1, 8, 8), (3, 4), 5), (1, 8, 8)),
    "flattened images": (lambda: SmallConvNet((1, 8, 8), (3, 4), 5), (64,)),
    "signals": (lambda: SmallConvNet((2, 12), (3, 4), 5), (2, 12)),
    "vgg": (lambda: VGGSmall((1, 8, 8), width=3, classes=5), (1, 8, 8)),
    "strided": (Strided, (2, 9, 9)),
    "fixed filter": (FixedFilter, (2, 8, 8)),
    "tied": (Tied, (5,)),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("shared", [False, True])
def test_outputs_gradients_and_buffers_equal_the_plain_modules(name, shared):
    factory, shape = ARCHITECTURES[name]
    models = members(factory)
    ensemble = Ensemble(models)
    x = normal(*(() if shared else (3,)), 7, *shape)
    out = ensemble(x, shared=shared)
    target = normal(*out.shape, seed=1)
    (out * target).sum().backward()
    for i, model in enumerate(models):
        alone = model(x if shared else x[i])
        torch.testing.assert_close(out[i], alone, rtol=1e-12, atol=1e-12)
        (alone * target[i]).sum().backward()
        for key, p in model.named_parameters():
            torch.testing.assert_close(
                ensemble.parameters[key].grad[i], p.grad, rtol=1e-11, atol=1e-11
            )
        for key, buffer in model.named_buffers():
            torch.testing.assert_close(ensemble.buffers[key][i], buffer, rtol=1e-12, atol=1e-12)


def test_members_and_state_give_plain_modules_with_the_current_weights():
    ensemble = Ensemble(members(Tied))
    with torch.no_grad():
        ensemble.parameters["inner.weight"] *= 2
    x = normal(4, 5)
    for i, plain in enumerate(ensemble.members()):
        assert type(plain) is Tied and plain.outer.weight is plain.inner.weight
        torch.testing.assert_close(plain(x), ensemble(x, shared=True)[i])
        loaded = Tied().double()
        loaded.load_state_dict(ensemble.state(i))
        assert torch.equal(loaded(x), plain(x))


@pytest.mark.parametrize("name", ["convolutions", "vgg", "strided"])
def test_one_float32_gradient_equals_the_plain_one(name):
    factory, shape = ARCHITECTURES[name]
    models = members(factory, dtype=torch.float32)
    ensemble, x = Ensemble(models), normal(3, 7, *shape, dtype=torch.float32)
    ensemble(x).square().mean((1, 2)).sum().backward()
    for i, model in enumerate(models):
        model(x[i]).square().mean().backward()
        for key, p in model.named_parameters():
            assert (ensemble.parameters[key].grad[i] - p.grad).abs().max() < 1e-5


def test_the_given_models_stay_untouched():
    models = members(lambda: MLP((6, 5, 4), norm="batch"))
    before = copy.deepcopy(models[1].state_dict())
    ensemble = Ensemble(models)
    ensemble(normal(3, 7, 6))
    with torch.no_grad():
        for p in ensemble.parameters.values():
            p.zero_()
    assert all(torch.equal(before[k], v) for k, v in models[1].state_dict().items())


def test_members_with_own_index_buffers_and_parametrized_weights():
    class Gather(nn.Module):
        def __init__(self, index):
            super().__init__()
            self.register_buffer("index", index)

        def forward(self, z):
            return z[self.index]

        def right_inverse(self, w):
            return w.new_ones(4)

    def model(seed):
        linear = seeded(lambda: nn.Linear(3, 2), seed).double()
        index = torch.randint(4, (2, 3), generator=torch.Generator().manual_seed(seed))
        parametrize.register_parametrization(linear, "weight", Gather(index), unsafe=True)
        with torch.no_grad():
            linear.parametrizations.weight.original.copy_(normal(4, seed=seed))
        return linear

    models = [model(seed) for seed in range(3)]
    out, x = Ensemble(models), normal(5, 3)
    for i, plain in enumerate(models):
        torch.testing.assert_close(out(x, shared=True)[i], plain(x), rtol=1e-12, atol=1e-12)


def test_eval_mode_uses_and_keeps_the_running_statistics_of_each_member():
    models = members(lambda: VGGSmall((1, 8, 8), width=2))
    ensemble = Ensemble(models)
    ensemble(normal(3, 9, 64))
    kept = {k: v.clone() for k, v in ensemble.buffers.items()}
    ensemble.eval()
    x = normal(4, 64, seed=3)
    out = ensemble(x, shared=True)
    for i, plain in enumerate(ensemble.members()):
        assert not plain.training
        torch.testing.assert_close(out[i], plain(x), rtol=1e-12, atol=1e-12)
    assert all(torch.equal(kept[k], v) for k, v in ensemble.buffers.items())


def test_a_nan_member_leaves_the_others_bit_equal():
    for factory, shape in (ARCHITECTURES["vgg"], ARCHITECTURES["convolutions"]):
        for dtype in (torch.float32, torch.float64):
            models = members(factory, dtype=dtype)
            x = normal(3, 7, *shape, dtype=dtype)
            healthy, sick = Ensemble(models), Ensemble(models)
            with torch.no_grad():
                for p in sick.parameters.values():
                    p[1] = torch.nan
            for ensemble in (healthy, sick):
                ensemble(x).square().mean(2).sum().backward()
            for key, p in healthy.parameters.items():
                q = sick.parameters[key]
                assert torch.equal(p.grad[[0, 2]], q.grad[[0, 2]])
                assert q.grad[1].isnan().any() or key == "features.0.bias"


def test_snapshot_restores_in_place():
    ensemble = Ensemble(members(lambda: MLP((6, 5, 4), norm="batch")))
    snapshot, p = ensemble.snapshot(), ensemble.parameters["layers.0.weight"]
    ensemble(normal(3, 7, 6))
    with torch.no_grad():
        p.add_(1)
    ensemble.restore(snapshot)
    assert ensemble.parameters["layers.0.weight"] is p
    assert all(torch.equal(v, snapshot[k]) for k, v in ensemble.snapshot().items())
    with pytest.raises(ValueError, match=r"'layers.0.bias' is missing"):
        ensemble.restore({k: v for k, v in snapshot.items() if k != "layers.0.bias"})
    with pytest.raises(ValueError, match=r"'layers.0.bias' has shape \(1,\).*expected \(3, 5\)"):
        ensemble.restore({**snapshot, "layers.0.bias": torch.zeros(1)})


def test_frozen_parameters_stay_frozen():
    models = members(lambda: MLP((6, 5, 4)))
    for model in models:
        model.layers[0].weight.requires_grad_(False)
    ensemble = Ensemble(models)
    assert [p.shape for p in ensemble.trainable()] == [(3, 5), (3, 4, 5), (3, 4)]


def test_bad_members_are_named():
    with pytest.raises(ValueError, match="at least one member"):
        Ensemble([])
    with pytest.raises(ValueError, match=r"member 1: module 'layers.0' is Linear\(in_features=6"):
        Ensemble([MLP((6, 5, 4)), MLP((6, 7, 4))])
    with pytest.raises(ValueError, match=r"member 2: module 'layers.1' is Tanh.*it is ReLU"):
        Ensemble([MLP((6, 5, 4)), MLP((6, 5, 4)), MLP((6, 5, 4), "tanh")])
    with pytest.raises(ValueError, match=r"tensor 'layers.0.weight' has dtype torch.float64"):
        Ensemble([MLP((6, 5, 4)), MLP((6, 5, 4)).double()])
    with pytest.raises(ValueError, match="draws random numbers"):
        Ensemble([nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))])
    with pytest.raises(ValueError, match="momentum=None"):
        Ensemble([nn.BatchNorm1d(2, momentum=None)])
    with pytest.raises(ValueError, match=r"expected \(2, B, ...\)"):
        Ensemble([MLP((6, 5, 4)), MLP((6, 5, 4))])(torch.zeros(7, 6))
    with pytest.raises(IndexError, match=r"allowed 0..0"):
        Ensemble([MLP((6, 5, 4))]).state(1)


def test_dropout_without_effect_is_welcome():
    Ensemble([nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0))])


def test_a_parametrization_in_one_member_alone_is_refused():
    models = [nn.Sequential(nn.Linear(2, 2)) for _ in range(2)]
    parametrize.register_parametrization(models[1][0], "weight", nn.Identity())
    with pytest.raises(ValueError, match="is ModuleDict, in member 0 it is NoneType"):
        Ensemble(models)
