"""Weights of recurrent layers, attention's input projections, transposed kernels as integers."""

import warnings
from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import nn

from overparam.compress import (
    LeftAlone,
    QuantisedWeight,
    dequantise,
    export_model,
    load_method,
    minmax_grid,
    quantise_weight,
    round_to_nearest,
)
from overparam.compress.gptq_model import gptq_model
from overparam.compress.load_model import load
from overparam.compress.quantise_model import inner_weights
from overparam.datasets import InMemory
from overparam.training import Task

SEQUENCE = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))
EIGHT = partial(minmax_grid, bits=8)
MAKERS = {
    "gru": lambda: nn.GRU(8, 6, num_layers=2, bidirectional=True, batch_first=True),
    "lstm": lambda: nn.LSTM(8, 6, proj_size=4, batch_first=True),
    "rnn": lambda: nn.RNN(8, 6, bias=False, batch_first=True),
    "encoder": lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
    "transposed": lambda: nn.ConvTranspose1d(5, 4, 3),
}


def outputs(model):
    found = model(SEQUENCE)
    return found[0] if isinstance(found, tuple) else found


def assert_same_numbers(got, expected):
    """Kernels of recurrent layers sum in another order where weights are parameters."""
    assert torch.allclose(got, expected, rtol=1e-5, atol=1e-6)


def weight_of(model, name):
    place, _, leaf = name.rpartition(".")
    return getattr(model.get_submodule(place), leaf)


def by_hand(model, bits):
    """The same network with each inner weight rounded as a plain float parameter."""
    plain = deepcopy(model)
    with torch.no_grad():
        for weight in plain.parameters():
            if weight.ndim > 1:
                grid = minmax_grid(weight, bits)
                weight.copy_(grid.values(grid.codes(weight)))
    return plain


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("training", [True, False])
def test_a_quantised_network_computes_with_rounded_weights(kind, training):
    model = MAKERS[kind]().train(training)
    for module in model.modules():
        if isinstance(module, nn.Dropout | nn.MultiheadAttention):
            module.train(False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quantised = round_to_nearest(model, partial(minmax_grid, bits=4))
    assert not [n for n, p in quantised.named_parameters() if p.ndim > 1]
    for other in (quantised, deepcopy(quantised), dequantise(quantised)):
        with torch.no_grad():
            torch.manual_seed(0)
            got = outputs(other)
            torch.manual_seed(0)
            assert_same_numbers(got, outputs(by_hand(model, 4)))
        for name in inner_weights(by_hand(model, 4)):
            assert torch.equal(weight_of(other, name), weight_of(by_hand(model, 4), name))


@pytest.mark.parametrize("kind", MAKERS)
def test_integers_follow_state_dicts_and_types(kind):
    torch.manual_seed(0)
    quantised = round_to_nearest(MAKERS[kind]().eval(), EIGHT)
    other = round_to_nearest(MAKERS[kind]().eval(), EIGHT)
    assert not torch.equal(outputs(other), outputs(quantised))
    other.load_state_dict(quantised.state_dict())
    assert_same_numbers(outputs(other), outputs(quantised))
    wide = deepcopy(quantised).double()
    given = wide(SEQUENCE.double())
    given = given[0] if isinstance(given, tuple) else given
    assert torch.allclose(given.float(), outputs(quantised), atol=1e-5)


@pytest.mark.parametrize("kind", MAKERS)
def test_a_plain_network_again_trains_and_moves(kind):
    plain = dequantise(round_to_nearest(MAKERS[kind](), EIGHT))
    assert not any(isinstance(m, QuantisedWeight) for m in plain.modules())
    own = MAKERS[kind]()
    own.load_state_dict(plain.state_dict())
    assert_same_numbers(outputs(own.eval()), outputs(plain.eval()))
    outputs(plain.train()).sum().backward()
    assert all(p.grad is not None for p in plain.parameters())
    plain.double()
    assert plain(SEQUENCE.double())[0].dtype == torch.float64


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(8, 32, batch_first=True)
        self.attention = nn.MultiheadAttention(32, 4, kdim=8, vdim=8, batch_first=True)
        self.start = nn.Parameter(torch.zeros(1, 32))
        self.head = nn.Linear(32, 3)

    def forward(self, x):
        h = self.rnn(x)[0]
        return self.head(self.attention(h + self.start, x, x, need_weights=False)[0][:, -1])


@pytest.mark.parametrize("method", ["nearest", "nearest_group", "clipped", "gptq", "adaround"])
def test_files_hold_packed_integers_and_load(method, tmp_path, monkeypatch):
    monkeypatch.setattr("overparam.compress.methods.adaround.STEPS", 5)
    model = Tagger().eval()
    data = InMemory(torch.randn(40, 5, 8), torch.arange(40) % 3)
    given = {"data": data, "task": Task("classification", ("a", "b", "c")), "seed": 0}
    with pytest.warns(LeftAlone) as caught:
        small = load_method(method)(model, bits=4, **given)
    told = [str(warning.message) for warning in caught]
    assert (
        told[0] == "start: only trainable weights of torch's own layers are quantised; left float"
    )
    inner = ", ".join(inner_weights(model))
    assert inner.count(",") == 4 and "attention.k_proj_weight" in inner
    learns = method in ("gptq", "adaround")
    assert [t.partition(":")[0] for t in told[1:]] == ([inner] if learns else [])
    made = export_model(small, Tagger(), tmp_path)
    assert made.format == "packed int4"
    codecs = {tensor.name: tensor.codec for tensor in made.tensors}
    assert codecs["rnn.weight_ih_l0"] == codecs["attention.q_proj_weight"] == "packed int4"
    assert codecs["start"] in ("dense", "sparse")
    loaded = load(Tagger, tmp_path)
    with torch.no_grad():
        assert_same_numbers(loaded(SEQUENCE), small(SEQUENCE))


def test_a_network_of_nothing_else_is_rounded_by_gptq_too():
    gru = nn.GRU(8, 6, batch_first=True).eval()
    with pytest.warns(LeftAlone, match="rounded to the nearest level"):
        quantised = gptq_model(gru, [SEQUENCE], 4, forward=lambda net, x: net(x)[0])
    assert_same_numbers(outputs(quantised), outputs(by_hand(gru, 4)))


def test_weights_that_stay_float():
    frozen = nn.GRU(8, 8)
    frozen.weight_ih_l0.requires_grad_(False)
    assert inner_weights(frozen) == ["weight_hh_l0"]
    one, two = nn.GRU(8, 8), nn.GRU(8, 8)
    two.weight_hh_l0 = one.weight_hh_l0
    assert inner_weights(nn.ModuleList([one, two])) == ["0.weight_ih_l0", "1.weight_ih_l0"]
    assert inner_weights(nn.ModuleList([one, one])) == ["0.weight_ih_l0", "0.weight_hh_l0"]
    assert inner_weights(nn.MultiheadAttention(8, 2, add_bias_kv=True)) == ["in_proj_weight"]


def test_weights_of_one_layer_have_one_number_of_bits():
    gru = nn.GRU(2, 2)
    for name, bits in (("weight_ih_l0", 8), ("weight_hh_l0", 4)):
        grid = minmax_grid(gru._parameters[name], bits)
        give = partial(
            quantise_weight, gru, grid.codes(gru._parameters[name]), grid.scale, grid.zero, bits
        )
        if bits == 8:
            give(name=name)
        else:
            with pytest.raises(ValueError, match="the layer has 8"):
                give(name=name)
    with pytest.raises(ValueError, match="no parameter 'weight_hr_l0'"):
        give(name="weight_hr_l0")
