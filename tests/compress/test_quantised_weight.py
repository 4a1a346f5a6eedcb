from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import nn

from overparam.compress import (
    QuantisedWeight,
    apply_masks,
    dequantise,
    global_mask,
    masks_of,
    materialise,
    minmax_grid,
    quantise_weight,
    round_to_nearest,
    score_mag,
)

LAYERS = {
    "linear": (lambda: nn.Linear(10, 4), torch.randn(3, 10)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, groups=2), torch.randn(3, 4, 9)),
    "conv2d": (
        lambda: nn.Conv2d(2, 4, 3, padding_mode="circular", padding=1),
        torch.ones(1, 2, 5, 5),
    ),
    "conv3d": (lambda: nn.Conv3d(1, 2, 2, bias=False), torch.ones(1, 1, 3, 3, 3)),
    "embedding": (lambda: nn.Embedding(6, 5, padding_idx=0), torch.tensor([[0, 2, 5]])),
}
GRIDS = {
    "tensor": partial(minmax_grid, bits=4, per="tensor"),
    "channel": partial(minmax_grid, bits=4, symmetric=False),
    "group": partial(minmax_grid, bits=4, per="group", group=4),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("per", GRIDS)
def test_a_quantised_layer_computes_with_codes_minus_zero_times_scale(kind, per):
    make, x = LAYERS[kind]
    layer = make()
    grid = GRIDS[per](layer.weight)
    codes = grid.codes(layer.weight)
    quantised = round_to_nearest(layer, GRIDS[per])
    columns = layer.weight[0].numel()
    for place in range(0, layer.weight.numel(), 3):
        row, column = divmod(place, columns)
        at = {"tensor": (), "channel": (row,), "group": (row, column // 4)}[per]
        expected = (int(codes.flatten()[place]) - int(grid.zero[at])) * grid.scale[at]
        assert quantised.weight.flatten()[place] == expected
    plain = deepcopy(layer)
    with torch.no_grad():
        plain.weight.copy_(quantised.weight)
    assert torch.equal(quantised(x), plain(x))
    assert isinstance(quantised, QuantisedWeight)
    assert isinstance(quantised, type(layer))
    assert (quantised.bits, quantised.group) == (4, 4 if per == "group" else None)


def net(seed=1):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 3))


def test_no_float_copy_of_the_weight_is_left():
    quantised = round_to_nearest(net(), GRIDS["channel"])
    assert [name for name, _ in quantised.named_parameters()] == [
        "0.bias",
        "1.weight",
        "1.bias",
        "3.bias",
    ]
    state = quantised.state_dict()
    assert {"0.weight_codes", "0.weight_scale", "0.weight_zero"} <= set(state)
    assert state["0.weight_codes"].dtype == state["0.weight_zero"].dtype == torch.uint8
    assert state["0.weight_scale"].shape == state["0.weight_zero"].shape == (4,)


def test_copies_and_state_dicts_carry_the_integers():
    x = torch.randn(2, 1, 5, 5)
    quantised = round_to_nearest(net(), GRIDS["group"]).eval()
    copied = deepcopy(quantised)
    assert copied[0].weight_codes is not quantised[0].weight_codes
    assert torch.equal(copied(x), quantised(x))
    other = round_to_nearest(net(seed=7), GRIDS["group"]).eval()
    assert not torch.equal(other(x), quantised(x))
    other.load_state_dict(quantised.state_dict())
    assert torch.equal(other(x), quantised(x))


def test_modes_and_types_follow_the_module():
    model = net()
    model[1].eval()
    quantised = round_to_nearest(model, GRIDS["channel"])
    assert [m.training for m in quantised.modules()] == [m.training for m in model.modules()]
    double = deepcopy(quantised).double()
    assert double[3].weight.dtype == torch.float64
    assert double[3].weight_codes.dtype == torch.uint8
    assert torch.allclose(double[3].weight.float(), quantised[3].weight, rtol=1e-6)
    assert torch.equal(quantised.train()[3].weight, quantised.eval()[3].weight)


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("symmetric", [True, False])
def test_masked_weights_stay_exactly_zero(bits, symmetric):
    model = net()
    masked = apply_masks(model, global_mask(score_mag(model), 0.4))
    masks = masks_of(masked)
    quantised = round_to_nearest(masked, partial(minmax_grid, bits=bits, symmetric=symmetric))
    for index in (0, 3):
        weight, mask = quantised[index].weight, masks[f"{index}.weight"]
        assert not bool(weight[~mask].any())
        assert not hasattr(quantised[index], "weight_mask")
    assert torch.equal(masks_of(masked)["0.weight"], masks["0.weight"])


def test_a_mask_is_folded_into_codes_that_do_not_know_it():
    layer = nn.Linear(3, 1)
    masked = apply_masks(layer, {"weight": torch.tensor([[True, False, True]])})
    codes = torch.tensor([[1, 2, 3]], dtype=torch.uint8)
    quantise_weight(masked, codes, torch.tensor([0.5]), torch.tensor([1], dtype=torch.uint8), 2)
    assert masked.weight.tolist() == [[0.0, 0.0, 1.0]]
    assert codes.tolist() == [[1, 2, 3]]


def test_tied_layers_share_the_integers_and_are_tied_again_when_plain():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.out = nn.Embedding(8, 4), nn.Linear(4, 8)
            self.out.weight = self.table.weight

    quantised = round_to_nearest(Tied(), GRIDS["channel"])
    assert quantised.table.weight_codes is quantised.out.weight_codes
    copied = deepcopy(quantised)
    assert copied.table.weight_codes is copied.out.weight_codes
    plain = dequantise(copied)
    assert plain.table.weight is plain.out.weight
    assert isinstance(plain.out.weight, nn.Parameter)


def test_dequantised_models_are_plain_and_equal():
    x = torch.randn(2, 1, 5, 5)
    model = net()
    masked = apply_masks(model, global_mask(score_mag(model), 0.5))
    quantised = round_to_nearest(masked, GRIDS["group"]).eval()
    plain = dequantise(quantised)
    assert [type(m) for m in plain.modules()] == [type(m) for m in model.modules()]
    assert plain.state_dict().keys() == model.state_dict().keys()
    assert torch.equal(plain(x), quantised(x))
    assert isinstance(quantised[0], QuantisedWeight)
    assert torch.equal(materialise(plain)(x), plain(x))


def codes_of(bits=4, rows=2, columns=6, group=None):
    shape = (rows,) if group is None else (rows, -(-columns // group))
    return {
        "codes": torch.ones(rows, columns, dtype=torch.uint8),
        "scale": torch.ones(shape),
        "zero": torch.zeros(shape, dtype=torch.uint8),
        "bits": bits,
        "group": group,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bits": 1}, "bits is 1; allowed are 2..8"),
        ({"bits": 9}, "bits is 9"),
        ({"group": 0}, "group is 0"),
        ({"codes": torch.ones(2, 5, dtype=torch.uint8)}, r"expected \(2, 6\)"),
        ({"codes": torch.full((2, 6), 16, dtype=torch.uint8)}, "codes reaches 16"),
        ({"codes": torch.ones(2, 6, dtype=torch.int64)}, "allowed torch.uint8"),
        ({"scale": torch.ones(3)}, r"allowed, both: \(\) or \(2,\)"),
        ({"scale": torch.tensor([1.0, 0.0])}, "not positive and finite"),
        ({"scale": torch.tensor([1.0, float("nan")])}, "not positive and finite"),
        ({"scale": torch.ones(2, dtype=torch.float64)}, "expected the weight's"),
        ({"zero": torch.full((2,), 16, dtype=torch.uint8)}, "zero reaches 16"),
        ({"group": 4}, r"allowed, both: \(2, 2\)"),
    ],
)
def test_what_does_not_fit_is_refused_and_the_layer_stays(change, message):
    layer = nn.Linear(6, 2)
    with pytest.raises(ValueError, match=message):
        quantise_weight(layer, **(codes_of() | change))
    assert type(layer) is nn.Linear
    assert "weight" in dict(layer.named_parameters())


def test_a_layer_without_a_weight_of_its_own_is_refused():
    layer = nn.Linear(6, 2)
    quantise_weight(layer, **codes_of(group=4))
    for without in (layer, nn.ReLU()):
        with pytest.raises(ValueError, match="has no parameter 'weight'"):
            quantise_weight(without, **codes_of())
