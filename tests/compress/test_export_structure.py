"""Networks of another shape than the factory's: settings, replaced, removed and shared modules."""

import copy

import pytest
import torch
from torch import nn
from toys.model_zoo import ZOO

from overparam.compress.export import export_model
from overparam.compress.export_layout import named_tensors, same_bits
from overparam.compress.export_structure import CannotExport, module_changes
from overparam.compress.load_model import load

VECTORS = torch.randn(3, 12, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))


def exchanged(net, factory, folder, inputs):
    """Export, load, compare all tensors and outputs bit for bit; the loaded model."""
    export_model(net, factory(), folder, outputs=lambda model: model(inputs))
    loaded = load(factory, folder)
    expected, got = named_tensors(net), named_tensors(loaded)
    assert list(expected) == list(got)
    assert all(same_bits(t, got[n]) for n, t in expected.items())
    assert torch.equal(net.eval()(inputs), loaded(inputs))
    assert str(loaded) == str(net)
    return loaded


def rows(parameter, kept):
    return nn.Parameter(parameter.detach()[kept].clone())


def test_pruned_channels_of_a_convolution_and_its_norm(tmp_path):
    factory = ZOO["conv_bn"].factory
    net, kept = factory(), [0, 2, 3, 7]
    net[0].weight, net[0].out_channels = rows(net[0].weight, kept), 4
    for name in ("weight", "bias"):
        setattr(net[1], name, rows(getattr(net[1], name), kept))
    net[1].running_mean = net[1].running_mean[kept] + 0.5
    net[1].running_var = net[1].running_var[kept] * 2
    net[1].num_features = 4
    net[4].weight = nn.Parameter(net[4].weight.detach()[:, kept].clone())
    net[4].in_channels = 4
    loaded = exchanged(net, factory, tmp_path, IMAGES)
    assert (loaded[0].out_channels, loaded[1].num_features, loaded[4].in_channels) == (4, 4, 4)
    assert list(loaded[1].state_dict()) == list(net[1].state_dict())


def test_pruned_depthwise_convolution(tmp_path):
    def factory():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(2, 6, 1), nn.Conv2d(6, 6, 3, groups=6), nn.GroupNorm(3, 6))

    net = factory()
    net[0].weight, net[0].bias = rows(net[0].weight, [0, 1, 4, 5]), rows(net[0].bias, [0, 1, 4, 5])
    net[1].weight, net[1].bias = rows(net[1].weight, [0, 1, 4, 5]), rows(net[1].bias, [0, 1, 4, 5])
    net[0].out_channels = net[1].in_channels = net[1].out_channels = net[1].groups = 4
    net[2] = nn.GroupNorm(2, 4)
    loaded = exchanged(net, factory, tmp_path, IMAGES)
    assert loaded[1].groups == 4 and loaded[2].num_groups == 2


def test_pruned_heads_and_feed_forward(tmp_path):
    factory = ZOO["encoder"].factory
    net = factory()
    attention, layer = net.layer.self_attn, net.layer
    kept = torch.arange(4, 16)  # without the first of four heads of four numbers
    everywhere = torch.cat([kept, 16 + kept, 32 + kept])
    attention.in_proj_weight = rows(attention.in_proj_weight, everywhere)
    attention.in_proj_bias = rows(attention.in_proj_bias, everywhere)
    attention.out_proj.weight = nn.Parameter(attention.out_proj.weight.detach()[:, kept])
    attention.out_proj.in_features = 12
    attention.num_heads = 3
    layer.linear1.weight, layer.linear1.bias = (
        rows(layer.linear1.weight, [1, 5]),
        rows(layer.linear1.bias, [1, 5]),
    )
    layer.linear1.out_features = layer.linear2.in_features = 2
    layer.linear2.weight = nn.Parameter(layer.linear2.weight.detach()[:, [1, 5]].clone())
    export_model(net, factory(), tmp_path)
    loaded = load(factory, tmp_path)
    assert all(same_bits(t, named_tensors(loaded)[n]) for n, t in named_tensors(net).items())
    assert loaded.layer.self_attn.num_heads == 3
    assert loaded.layer.linear2.in_features == 2


def test_factored_layers(tmp_path):
    factory = ZOO["conv_bn"].factory
    net = factory()
    net[8] = nn.Sequential(nn.Linear(64, 3, bias=False), nn.Linear(3, 4))
    net[4] = nn.Sequential(
        nn.Conv2d(8, 2, 1, bias=False), nn.Conv2d(2, 3, 3, bias=False), nn.Conv2d(3, 16, 1)
    )
    loaded = exchanged(net, factory, tmp_path, IMAGES)
    assert loaded[8][0].bias is None and isinstance(loaded[4][1].kernel_size, tuple)
    # What was loaded is as good as new: it can be copied, trained and moved.
    copied = copy.deepcopy(loaded).double()
    copied(IMAGES.double()).sum().backward()
    assert copied[8][0].weight.grad is not None


def test_the_whole_model_replaced(tmp_path):
    factory = ZOO["linear"].factory
    net = nn.Sequential(nn.Linear(12, 2, bias=False), nn.Linear(2, 4))
    assert isinstance(exchanged(net, factory, tmp_path, VECTORS), nn.Sequential)


def test_a_folded_norm_and_layers_taken_out(tmp_path):
    factory = ZOO["conv_bn"].factory
    net = factory().eval()
    net[0] = torch.nn.utils.fuse_conv_bn_eval(net[0], net[1])
    net[1] = nn.Identity()
    loaded = exchanged(net, factory, tmp_path, IMAGES)
    assert loaded[0].bias is not None and isinstance(loaded[1], nn.Identity)
    del net[1]
    assert [len(exchanged(net, factory, tmp_path, IMAGES)), len(factory())] == [8, 9]


def test_parameters_and_buffers_that_vanish(tmp_path):
    factory = ZOO["conv_bn"].factory
    net = factory().eval()
    net[8].bias = None
    net[1] = nn.BatchNorm2d(8, affine=False)
    loaded = exchanged(net, factory, tmp_path, IMAGES)
    assert loaded[8].bias is None and loaded[1].weight is None


class Optional(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.norm = nn.Linear(12, 12), nn.Linear(12, 12), nn.LayerNorm(12)
        self.register_buffer("phase", torch.arange(12.0), persistent=False)
        self.register_buffer("mask", torch.ones(2, 12, dtype=torch.bool))
        self.sizes, self.rates, self.name = [6, 6], (0.5, 1.0), "wide"

    def forward(self, x):
        x = self.first(x) * self.phase[: x.shape[1]]
        if self.norm is not None:
            x = self.norm(x)
        return torch.cat(
            [p * r for p, r in zip(x.split(self.sizes, 1), self.rates, strict=True)], 1
        )


def test_settings_of_every_kind_and_children_that_vanish(tmp_path):
    net = Optional()
    net.norm, net.sizes, net.rates, net.name = None, [4, 8], (0.25, 3.0), "narrow"
    loaded = exchanged(net, Optional, tmp_path, VECTORS)
    assert (loaded.sizes, loaded.rates, loaded.name) == ([4, 8], (0.25, 3.0), "narrow")
    assert loaded.norm is None


def test_buffers_that_no_state_dict_holds(tmp_path):
    net = Optional()
    made = export_model(net, Optional(), tmp_path)
    assert "phase" not in {t.name for t in made.tensors}  # the factory makes it
    net.phase = net.phase * 2
    loaded = exchanged(net, Optional, tmp_path, VECTORS)
    assert "phase" not in loaded.state_dict()
    net.first, net.phase = nn.Linear(12, 10), torch.arange(10.0)
    net.norm, net.sizes = nn.LayerNorm(10), [4, 6]
    assert exchanged(net, Optional, tmp_path, VECTORS).norm.normalized_shape == (10,)


def test_modules_in_several_places(tmp_path):
    factory = ZOO["shared_module"].factory
    net = factory()
    wide = nn.Sequential(nn.Linear(12, 2), nn.Linear(2, 12))
    net.blocks[0][0] = wide
    net.again = wide
    loaded = exchanged(net, factory, tmp_path, VECTORS)
    assert loaded.again is loaded.blocks[1][0] is loaded.blocks[0][0]


def test_modules_that_become_one(tmp_path):
    def factory():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(12, 12), nn.Linear(12, 12))

    net = factory()
    net[1] = net[0]
    loaded = exchanged(net, factory, tmp_path, VECTORS)
    assert loaded[1] is loaded[0]


def test_one_module_that_became_two_is_refused(tmp_path):
    factory = ZOO["shared_module"].factory
    net = factory()
    net.again = copy.deepcopy(net.again)
    with pytest.raises(CannotExport, match=r"again and blocks\.0\.0 are one module"):
        export_model(net, factory(), tmp_path)


def test_recurrent_layers_read_the_loaded_weights(tmp_path):
    toy = ZOO["recurrent"]
    net = toy.factory()
    with torch.no_grad():
        for parameter in net.lstm.parameters():
            parameter.mul_(1.5)
    net.embedding = nn.Embedding(60, 7)
    net.lstm = nn.LSTM(10, 6, batch_first=True)
    net.lstm.load_state_dict(toy.factory().lstm.state_dict())
    net.lstm.weight_ih_l0 = nn.Parameter(net.lstm.weight_ih_l0.detach()[:, :7].clone())
    net.lstm.input_size = 7
    exchanged(net, toy.factory, tmp_path, toy.inputs)


def test_parametrised_and_local_classes(tmp_path):
    def factory():
        class Inner(nn.Linear):
            pass

        torch.manual_seed(0)
        return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(12, 6)), Inner(6, 4))

    net = factory()
    with torch.no_grad():
        net[0].parametrizations.weight.original0.mul_(2)
    export_model(net, factory(), tmp_path, outputs=lambda model: model(VECTORS))
    assert torch.equal(load(factory, tmp_path)(VECTORS), net(VECTORS))


def test_lazy_layers(tmp_path):
    def factory():
        return nn.Sequential(nn.LazyLinear(5), nn.ReLU(), nn.LazyLinear(2))

    net = factory()
    net(VECTORS)
    loaded = exchanged(net, factory, tmp_path, VECTORS)
    assert type(loaded[0]) is nn.Linear


def test_no_change_is_no_change():
    for toy in ZOO.values():
        assert module_changes(toy.factory(), toy.factory()) == []


def test_settings_that_json_cannot_hold_are_named():
    net, reference = Optional(), Optional()
    net.rates = torch.device("cpu")
    with pytest.raises(CannotExport, match="'rates' is a device"):
        module_changes(net, reference)
