import warnings
from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import nn
from toys.model_zoo import SAMPLES, ZOO

from overparam.compress import (
    CannotTreat,
    LeftAlone,
    QuantisedWeight,
    apply_masks,
    dequantise,
    global_mask,
    load_method,
    minmax_grid,
    score_mag,
    share_parameters,
)
from overparam.compress.calibration import calibration_batches
from overparam.datasets import InMemory
from overparam.training import Task

METHODS = ("nearest", "nearest_tensor", "nearest_group", "clipped", "gptq", "adaround")
INNER = {
    "odd_convolutions": "transposed.weight",
    "encoder": "layer.self_attn.in_proj_weight",
    "recurrent": "lstm.weight_ih_l0, lstm.weight_hh_l0",
}


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr("overparam.compress.methods.adaround.STEPS", 25)


def needs(toy):
    task = Task("regression")
    if toy.classes:
        task = Task("classification", tuple(map(str, range(toy.classes))))
    return {"data": InMemory(toy.inputs, toy.targets()), "task": task, "seed": 0}


def left_alone(caught):
    return [str(w.message) for w in caught if issubclass(w.category, LeftAlone)]


@pytest.mark.parametrize("name", METHODS)
def test_methods_declare_what_they_take(name):
    method = load_method(name)
    assert not method.finetune
    learns = name in ("gptq", "adaround")
    assert method.needs == (("bits", "data", "task", "seed") if learns else ("bits",))


@pytest.mark.parametrize("toy_name", ZOO)
@pytest.mark.parametrize("name", METHODS)
def test_every_network_of_the_zoo_at_eight_bits(name, toy_name):
    toy = ZOO[toy_name]
    model = toy.factory().train()
    before = deepcopy(model.state_dict())
    state = torch.get_rng_state()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quantised = load_method(name)(model, bits=8, **needs(toy))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert [m.training for m in quantised.modules()] == [m.training for m in model.modules()]
    expected = ["0.weight"] if toy_name == "frozen" else []
    if name in ("gptq", "adaround"):
        told = INNER | {"unused": "unused.weight"}
        expected += [told[toy_name]] if toy_name in told else []
    assert [message.partition(":")[0] for message in left_alone(caught)] == expected
    with torch.no_grad():
        wanted, got = toy.call(model.eval()), toy.call(quantised.eval())
        assert torch.equal(toy.call(dequantise(quantised).eval()), got)
    assert got.shape == wanted.shape
    assert 0 < float((got - wanted).abs().max()) < 0.03 * float(wanted.abs().max())
    trainable = {name: p.requires_grad for name, p in model.named_parameters()}
    assert all(p.requires_grad == trainable[name] for name, p in quantised.named_parameters())


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("bits", [2, 5])
def test_bits_and_masks_are_kept(name, bits):
    toy = ZOO["conv_bn"]
    model = toy.factory()
    masked = apply_masks(model, global_mask(score_mag(model), 0.5))
    quantised = load_method(name)(masked, bits=bits, **needs(toy))
    for index in (0, 4, 8):
        layer = quantised[index]
        assert isinstance(layer, QuantisedWeight)
        assert layer.bits == bits
        assert int(layer.weight_codes.max()) < 2**bits
        assert not bool(layer.weight[~masked[index].weight_mask].any())


def test_scales_are_per_tensor_channel_and_group():
    toy = ZOO["conv_bn"]
    shapes = {
        name: tuple(load_method(name)(toy.factory(), bits=4)[4].weight_scale.shape)
        for name in ("nearest", "nearest_tensor", "nearest_group", "clipped")
    }
    # 16 channels of 8 x 3 x 3 weights: three groups, the last of 8.
    assert shapes == {
        "nearest": (16,),
        "nearest_tensor": (),
        "nearest_group": (16, 3),
        "clipped": (16,),
    }


@pytest.mark.parametrize("name", METHODS)
def test_a_model_without_quantisable_weights_cannot_be_treated(name):
    toy = ZOO["mlp"]
    frozen = toy.factory().requires_grad_(False)
    for model in (nn.Sequential(nn.BatchNorm1d(12)), frozen):
        with pytest.raises(CannotTreat, match="no weight to compress"):
            load_method(name)(model, bits=4, **needs(toy))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("bits", [1, 9])
def test_bits_are_checked_first(name, bits):
    with pytest.raises(ValueError, match=f"bits is {bits}; allowed"):
        load_method(name)(nn.ReLU(), bits=bits, **needs(ZOO["mlp"]))


@pytest.mark.parametrize("name", METHODS)
def test_weights_that_are_not_finite_are_named(name):
    toy = ZOO["mlp"]
    model = toy.factory()
    with torch.no_grad():
        model[3].weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"NaN or infinite"):
        load_method(name)(model, bits=4, **needs(toy))


def test_shared_parameters_cannot_be_quantised_and_say_so():
    toy = ZOO["mlp"]
    shared = share_parameters(toy.factory(), 4, seed=0)
    for name in METHODS:
        with pytest.raises(CannotTreat):
            load_method(name)(shared, bits=8, **needs(toy))


def test_half_precision():
    toy = ZOO["linear"]
    model = toy.factory().half()
    inputs = toy.inputs.half()
    given = needs(toy) | {"data": InMemory(inputs, toy.targets())}
    for name in ("nearest", "gptq"):
        quantised = load_method(name)(model, bits=8, **given)
        assert quantised.weight.dtype == torch.float16
        assert torch.allclose(quantised(inputs), model(inputs), atol=0.03)
    with pytest.raises(CannotTreat, match=r"float32, the model is torch\.float16"):
        load_method("adaround")(model, bits=8, **given)


def test_calibration_is_drawn_by_the_seed():
    data = InMemory(torch.arange(100.0).view(100, 1), torch.zeros(100))
    first = torch.cat(calibration_batches(data, 40, seed=1, size=16))
    assert len(first) == 48
    assert torch.equal(first, torch.cat(calibration_batches(data, 40, seed=1, size=16)))
    assert not torch.equal(first, torch.cat(calibration_batches(data, 40, seed=2, size=16)))
    assert len(torch.cat(calibration_batches(data, 1000, seed=1))) == 100
    with pytest.raises(ValueError, match="samples is 0"):
        calibration_batches(data, 0, seed=1)


@pytest.mark.parametrize("name", ["gptq", "adaround"])
def test_the_seed_decides_which_samples_are_seen(name):
    model = ZOO["mlp"].factory()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2000, 12, generator=generator)
    given = needs(ZOO["mlp"]) | {"data": InMemory(x, torch.zeros(2000, dtype=torch.long))}
    codes = [
        load_method(name)(model, bits=3, **(given | {"seed": seed}))[3].weight_codes
        for seed in (0, 0, 1)
    ]
    assert torch.equal(codes[0], codes[1])
    assert not torch.equal(codes[0], codes[2])


def test_nearest_equals_rounding_each_weight_by_itself():
    toy = ZOO["residual"]
    model = toy.factory()
    quantised = load_method("nearest")(model, bits=4)
    grid_of = partial(minmax_grid, bits=4)
    for name in ("stem", "body.0", "wide", "head"):
        weight = model.get_submodule(name).weight
        grid = grid_of(weight)
        assert torch.equal(quantised.get_submodule(name).weight, grid.values(grid.codes(weight)))
    assert len(toy.inputs) == SAMPLES
