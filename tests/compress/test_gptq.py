import warnings

import pytest
import torch
from torch import nn
from toys.model_zoo import ZOO

from overparam.compress import (
    LeftAlone,
    QuantisedWeight,
    apply_masks,
    global_mask,
    gptq_model,
    gptq_round,
    input_hessian,
    make_grid,
    round_to_nearest,
    score_mag,
)
from overparam.compress.input_hessian import patches
from overparam.compress.layer_inputs import call_counts, input_of


def problem(rows=6, columns=12, samples=60, seed=0, mix=1.0):
    """A weight and inputs whose columns are correlated."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator)
    source = torch.randn(samples, columns, generator=generator)
    blend = torch.randn(columns, columns, generator=generator) * mix + torch.eye(columns)
    return weight, source @ blend


def hessian_of(x):
    return 2 * x.double().T @ x.double()


def output_error(change, x):
    return float((x.double() @ change.double().T).square().sum())


def damped(hessian, damping):
    return hessian + damping * hessian.diagonal().mean() * torch.eye(len(hessian)).double()


def brain_quantised(weight, hessian, grid, order):
    """Optimal brain quantisation row by row; the inverse of what is left is computed anew."""
    result = torch.empty(weight.shape, dtype=torch.uint8)
    for row in range(len(weight)):
        w = weight[row].double().clone()
        left = list(order)
        for column in order:
            inverse = torch.linalg.inv(hessian[left][:, left])
            full = weight.clone()
            full[row] = w.float()
            # The column on the grid of its row, in float64 as the method keeps it.
            column_values = weight.double().clone()
            column_values[row] = w
            code = grid.codes(column_values)[row, column]
            result[row, column] = code
            codes = result.clone()
            value = grid.values(codes)[row, column].double()
            error = (w[column] - value) / inverse[0, 0]
            w[left] -= error * inverse[0]
            left = left[1:]
    return result


@pytest.mark.parametrize("levels", ["symmetric", "asymmetric", "clipped"])
@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize("block", [1, 3, 128])
def test_equals_optimal_brain_quantisation_in_the_same_order(levels, act_order, block):
    weight, x = problem(rows=3, columns=7)
    hessian = hessian_of(x)
    result = gptq_round(
        weight, hessian, 3, levels=levels, act_order=act_order, damping=0.01, block=block
    )
    order = hessian.diagonal().argsort(descending=True) if act_order else torch.arange(7)
    expected = brain_quantised(
        weight, damped(hessian, 0.01), make_grid(weight, 3, levels=levels), order.tolist()
    )
    assert torch.equal(result.codes, expected)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("group", [None, 5])
@pytest.mark.parametrize("act_order", [False, True])
def test_the_loss_is_the_damped_output_error_exactly(seed, group, act_order):
    weight, x = problem(seed=seed)
    result = gptq_round(
        weight, hessian_of(x), 3, group=group, act_order=act_order, damping=0.05, block=4
    )
    change = weight.double() - result.grid.values(result.codes).double()
    hessian = damped(hessian_of(x), 0.05)
    assert result.loss == pytest.approx(float((change @ hessian * change).sum()), rel=1e-9)


def test_a_diagonal_hessian_means_nearest_rounding():
    weight, _ = problem()
    diagonal = torch.diag(torch.rand(12, generator=torch.Generator().manual_seed(1)) + 0.1)
    for act_order in (False, True):
        result = gptq_round(weight, diagonal, 4, act_order=act_order)
        assert torch.equal(result.codes, make_grid(weight, 4).codes(weight))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_output_errors_are_below_those_of_nearest_rounding(bits):
    ratios, expected = [], []
    for seed in range(12):
        weight, x = problem(rows=32, columns=24, samples=200, seed=seed)
        grid = make_grid(weight, bits)
        nearest = output_error(weight - grid.values(grid.codes(weight)), x)
        result = gptq_round(weight, hessian_of(x), bits)
        ratios.append(output_error(weight - grid.values(result.codes), x) / nearest)
        hessian = damped(hessian_of(x), 0.01)
        factor = torch.linalg.cholesky(torch.linalg.inv(hessian), upper=True)
        expected.append(float(factor.diagonal().pow(-2).sum() / hessian.trace()))
    assert max(ratios) < 1
    if bits == 8:
        # Fine levels: errors are spread evenly over a step, and the ratio of means is known.
        assert sum(ratios) == pytest.approx(sum(expected), rel=0.1)


@pytest.mark.parametrize("seed", range(4))
def test_without_clipping_the_loss_keeps_its_bound(seed):
    weight, x = problem(seed=seed)
    # A range that no update leaves: the bound holds for levels that do not end.
    weight[:, 0] = 50.0
    hessian = damped(hessian_of(x), 0.01)
    result = gptq_round(weight, hessian_of(x), 8)
    factor = torch.linalg.cholesky(torch.linalg.inv(hessian), upper=True)
    pivots = factor.diagonal().pow(-2).sum()
    assert float(pivots) <= float(hessian.trace())
    bound = float((result.grid.scale.double() ** 2).sum()) / 4 * float(pivots)
    assert 0 < result.loss <= bound * (1 + 1e-6)


@pytest.mark.parametrize("act_order", [False, True])
def test_silent_columns_are_rounded_to_the_nearest(act_order):
    weight, x = problem()
    x[:, [2, 7]] = 0
    result = gptq_round(weight, hessian_of(x), 4, act_order=act_order)
    nearest = make_grid(weight, 4).codes(weight)
    assert torch.equal(result.codes[:, [2, 7]], nearest[:, [2, 7]])
    others = [c for c in range(12) if c not in (2, 7)]
    assert not torch.equal(result.codes[:, others], nearest[:, others])
    silent = gptq_round(weight, torch.zeros(12, 12), 4, act_order=act_order)
    assert torch.equal(silent.codes, nearest)


def test_fewer_samples_than_columns_need_damping():
    weight, x = problem(columns=30, samples=8)
    with pytest.raises(ValueError, match="fewer samples than columns"):
        gptq_round(weight, hessian_of(x), 3, damping=0.0)
    grid = make_grid(weight, 3)
    result = gptq_round(weight, hessian_of(x), 3)
    nearest = output_error(weight - grid.values(grid.codes(weight)), x)
    assert output_error(weight - grid.values(result.codes), x) < 0.2 * nearest


@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize("group", [None, 4])
def test_zeros_stay_zero_and_their_cost_is_made_up_for(act_order, group):
    weight, x = problem(rows=16, columns=24, samples=100)
    zeros = torch.rand(weight.shape, generator=torch.Generator().manual_seed(3)) < 0.5
    weight[zeros] = 0
    result = gptq_round(weight, hessian_of(x), 3, act_order=act_order, group=group)
    values = result.grid.values(result.codes)
    assert not bool(values[zeros].any())
    grid = make_grid(weight, 3, group=group)
    nearest = output_error(weight - grid.values(grid.codes(weight)), x)
    assert output_error(weight - values, x) < nearest


@pytest.mark.parametrize("act_order", [False, True])
def test_group_scales_come_from_the_weights_when_their_turn_comes(act_order):
    weight, x = problem(rows=4, columns=10)
    result = gptq_round(weight, hessian_of(x), 4, group=4, block=1, act_order=act_order)
    original = make_grid(weight, 4, group=4)
    assert result.grid.scale.shape == (4, 3)
    same = (result.grid.scale == original.scale).all(0).tolist()
    assert same == ([True] * 3 if act_order else [True, False, False])


CONVOLUTIONS = {
    "strided": (nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0)), (3, 2, 7, 6)),
    "same": (nn.Conv2d(3, 4, 4, dilation=2, padding="same"), (2, 3, 9, 8)),
    "grouped": (nn.Conv2d(4, 6, 3, groups=2, padding="valid"), (2, 4, 5, 5)),
    "depthwise": (nn.Conv2d(4, 4, 3, groups=4, padding=1, padding_mode="circular"), (2, 4, 5, 5)),
    "reflected": (nn.Conv1d(3, 5, 5, padding=2, padding_mode="reflect"), (2, 3, 11)),
    "solid": (nn.Conv3d(2, 3, (1, 2, 3), stride=2, groups=1), (2, 2, 4, 5, 6)),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_convolution_is_its_weight_times_its_patches(kind):
    layer, shape = CONVOLUTIONS[kind]
    layer = layer.double()
    x = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    seen = patches(layer, x)
    weight = layer.weight.flatten(1).view(layer.groups, -1, seen.shape[-1])
    products = torch.einsum("gnk,gok->ngo", seen, weight).flatten(1) + layer.bias
    outputs = layer(x).movedim(1, -1).flatten(0, -2)
    assert torch.allclose(products, outputs)
    hessian = input_hessian(layer, x)
    expected = 2 * seen.transpose(1, 2) @ seen
    assert torch.allclose(hessian, expected if layer.groups > 1 else expected[0])


def test_large_inputs_are_laid_out_in_parts():
    layer, shape = CONVOLUTIONS["grouped"]
    x = torch.randn(5, *shape[1:], generator=torch.Generator().manual_seed(0)).double()
    seen = patches(layer, x)
    assert torch.allclose(input_hessian(layer, x, entries=100), 2 * seen.transpose(1, 2) @ seen)


@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize("group", [None, 4])
def test_groups_of_a_convolution_are_problems_of_their_own(act_order, group):
    layer = nn.Conv2d(4, 6, 3, groups=2)
    x = torch.randn(9, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    hessian = input_hessian(layer, x)
    whole = gptq_round(layer.weight, hessian, 3, act_order=act_order, group=group)
    for part in range(2):
        alone = gptq_round(
            layer.weight[3 * part : 3 * part + 3],
            hessian[part],
            3,
            act_order=act_order,
            group=group,
        )
        assert torch.equal(whole.codes[3 * part : 3 * part + 3], alone.codes)


def linear_hessian(model, name, inputs):
    caught = []
    handle = model.get_submodule(name).register_forward_pre_hook(lambda _, a: caught.append(a[0]))
    with torch.no_grad():
        model(inputs)
    handle.remove()
    return input_hessian(model.get_submodule(name), torch.cat(caught))


def test_each_layer_sees_what_the_quantised_ones_before_it_produce():
    model = ZOO["mlp"].factory().eval()
    x = ZOO["mlp"].inputs
    quantised = gptq_model(model, [x[:4], x[4:]], 3)
    first = gptq_round(model[0].weight, input_hessian(model[0], x), 3)
    assert torch.equal(quantised[0].weight_codes, first.codes)
    second = gptq_round(model[3].weight, linear_hessian(quantised, "3", x), 3)
    assert torch.equal(quantised[3].weight_codes, second.codes)
    float_prefix = gptq_round(model[3].weight, linear_hessian(model, "3", x), 3)
    assert not torch.equal(quantised[3].weight_codes, float_prefix.codes)


def test_tied_layers_are_rounded_for_the_inputs_of_all():
    toy = ZOO["tied_layers"]
    model = toy.factory().eval()
    quantised = gptq_model(model, [toy.inputs], 4)
    total = sum(linear_hessian(model, f"layers.{i}", toy.inputs) for i in (0, 1))
    expected = gptq_round(model.layers[0].weight, total, 4)
    assert torch.equal(quantised.layers[0].weight_codes, expected.codes)
    assert quantised.layers[0].weight_codes is quantised.layers[1].weight_codes


def test_attentions_last_projection_is_rounded_for_what_flows_into_it():
    toy = ZOO["encoder"]
    model = toy.factory().eval()
    attention = model.layer.self_attn
    with torch.no_grad():
        hidden = model.inlet(toy.inputs)
        query, key, value = (
            part.view(*hidden.shape[:2], 4, 4).transpose(1, 2)
            for part in (hidden @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(3, -1)
        )
        context = nn.functional.scaled_dot_product_attention(query, key, value)
        context = context.transpose(1, 2).flatten(2)
    name = "layer.self_attn.out_proj"
    counts = call_counts(model, ["head", name, "layer.linear1"], toy.inputs)
    assert list(counts.items()) == [(name, 1), ("layer.linear1", 1), ("head", 1)]
    caught = input_of(model, name, 1, [toy.inputs])
    assert torch.allclose(caught, context.flatten(0, 1), atol=1e-6)
    with pytest.warns(LeftAlone, match=r"in_proj_weight"):
        quantised = gptq_model(model, [toy.inputs], 8)
    assert isinstance(quantised.layer.self_attn.out_proj, QuantisedWeight)
    assert torch.allclose(quantised(toy.inputs), model(toy.inputs), atol=0.02)


def test_masked_models_keep_their_zeros():
    toy = ZOO["conv_bn"]
    model = toy.factory().eval()
    masked = apply_masks(model, global_mask(score_mag(model), 0.3))
    quantised = gptq_model(masked, [toy.inputs], 4)
    for index in (0, 4, 8):
        kept = masked[index].weight_mask
        assert not bool(quantised[index].weight[~kept].any())
        assert bool(quantised[index].weight[kept].any())


def test_a_trained_networks_outputs_stay_closer_than_with_nearest_rounding():
    toy = ZOO["residual"]
    model = toy.factory().eval()
    x = torch.randn(64, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = model(x)
        nearest = round_to_nearest(model, lambda w: make_grid(w, 4))(x)
        ours = gptq_model(model, [x], 4)(x)
    assert float((ours - wanted).square().sum()) < 0.3 * float((nearest - wanted).square().sum())


def test_unused_layers_are_left_float_with_a_warning():
    toy = ZOO["unused"]
    with pytest.warns(LeftAlone, match="unused.weight: not used in a forward pass"):
        quantised = gptq_model(toy.factory(), [toy.inputs], 4)
    assert not isinstance(quantised.unused, QuantisedWeight)
    assert isinstance(quantised.head, QuantisedWeight)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"damping": -0.1}, "damping is -0.1"),
        ({"block": 0}, "block is 0"),
        ({"bits": 9}, "bits is 9"),
        ({"group": 0}, "group is 0"),
        ({"hessian": torch.eye(5)}, r"hessian has shape \(5, 5\)"),
        ({"hessian": torch.eye(12).expand(5, 12, 12)}, r"hessian has shape \(5, 12, 12\)"),
        ({"hessian": torch.full((12, 12), float("nan"))}, "NaN or infinite"),
        ({"weight": torch.full((6, 12), float("nan"))}, "NaN or infinite"),
        ({"hessian": -torch.eye(12)}, "not positive definite"),
    ],
)
def test_bad_numbers_are_refused(arguments, message):
    weight, x = problem()
    given = {"weight": weight, "hessian": hessian_of(x), "bits": 4} | arguments
    with pytest.raises(ValueError, match=message):
        gptq_round(given.pop("weight"), given.pop("hessian"), given.pop("bits"), **given)


def test_bad_calibration_is_refused_before_any_work():
    toy = ZOO["mlp"]
    model = toy.factory()
    for batches, message in (
        ([], "calib holds no batch"),
        ([toy.inputs[:0]], "batch 0 of calib is empty"),
        ([toy.inputs, toy.inputs * float("nan")], "batch 1 of calib has entries"),
        ([[1, 2]], "allowed are inputs of the model"),
    ):
        with pytest.raises(ValueError, match=message):
            gptq_model(model, batches, 4)
    with pytest.raises(ValueError, match=r"allowed are 2\.\.8"):
        gptq_model(model, [toy.inputs], 1)
    with torch.no_grad():
        model[0].weight[0, 0] = float("inf")
    with pytest.raises(ValueError, match=r"0\.weight: weight has entries"):
        gptq_model(model, [toy.inputs], 4)
    with pytest.raises(TypeError, match="layer is a Embedding"):
        input_hessian(nn.Embedding(2, 2), torch.tensor([0]))


def test_nothing_of_the_model_moves():
    toy = ZOO["conv_bn"]
    model = toy.factory()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gptq_model(model, [toy.inputs], 4)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training
