import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overparam.compress import WeightQuantizer, clipped_grid, make_grid, minmax_grid
from overparam.compress.weight_quantizer import rounding_logits, soft_rounding


def random_weight(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def torch_codes(weight, grid, dtype):
    # torch's own quantised tensors are about to be removed from it; the numbers are what we want.
    zero = grid.zero.long() - (128 if dtype == torch.qint8 else 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        if grid.scale.ndim == 0:
            made = torch.quantize_per_tensor(weight, float(grid.scale), int(zero), dtype)
        else:
            made = torch.quantize_per_channel(weight, grid.scale.double(), zero, 0, dtype)
    return made.int_repr(), made.dequantize()


@pytest.mark.parametrize("per", ["tensor", "channel"])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("shape", [(5, 70), (8, 3, 3, 3), (4, 2, 5)])
@pytest.mark.parametrize("seed", range(5))
def test_int8_weights_equal_torchs_own(per, symmetric, shape, seed):
    weight = random_weight(*shape, seed=seed)
    # Half of the entries on a coarse lattice: ties between levels.
    weight[::2] = (weight[::2] * 8).round() / 8
    grid = minmax_grid(weight, 8, symmetric=symmetric, per=per)
    integers, values = torch_codes(weight, grid, torch.qint8 if symmetric else torch.quint8)
    ours = grid.codes(weight)
    assert torch.equal(ours.int() - (128 if symmetric else 0), integers.int())
    assert torch.equal(grid.values(ours), values)


@given(st.integers(0, 10**6), st.integers(2, 8))
@settings(max_examples=40, deadline=None)
def test_symmetric_levels_hold_the_largest_weight_exactly_and_err_by_half_a_step(seed, bits):
    weight = random_weight(3, 20, seed=seed)
    grid = minmax_grid(weight, bits)
    values = grid.values(grid.codes(weight))
    step = weight.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    assert torch.equal(grid.scale[:, None], step)
    assert bool(((values - weight).abs() <= step * 0.50001).all())
    assert torch.allclose(values.abs().amax(1), weight.abs().amax(1), rtol=1e-6)


def test_asymmetric_levels_by_hand():
    weight = torch.tensor([[-1.0, 0.0, 0.4, 2.0], [0.5, 1.0, 1.5, 3.0]])
    grid = minmax_grid(weight, 2, symmetric=False)
    assert grid.scale.tolist() == [1.0, 1.0]
    assert grid.zero.tolist() == [1, 0]
    # Half to even: 0.5 to 0, 1.5 to 2.
    assert grid.codes(weight).tolist() == [[0, 1, 1, 3], [0, 1, 2, 3]]


def test_groups_are_channels_of_their_own_and_the_last_may_be_smaller():
    weight = random_weight(3, 2, 5)
    for levels in ("symmetric", "asymmetric", "clipped"):
        grid = make_grid(weight, 3, levels=levels, group=4)
        assert grid.scale.shape == (3, 3)
        values = grid.values(grid.codes(weight)).flatten(1)
        for index, part in enumerate(weight.flatten(1).split(4, dim=1)):
            alone = make_grid(part, 3, levels=levels)
            assert torch.equal(grid.scale[:, index], alone.scale)
            expected = alone.values(alone.codes(part))
            assert torch.equal(values.split(4, dim=1)[index], expected)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("seed", range(3))
def test_the_clip_search_equals_trying_all_hundred(bits, seed):
    weight = random_weight(6, 50, seed=seed)
    weight[0, 3] = 30.0
    weight[1] = weight[1].abs()
    best, lowest = torch.zeros(6), torch.full((6,), torch.inf)
    low, high = weight.amin(1).clamp(max=0), weight.amax(1).clamp(min=0)
    for percent in range(100, 0, -1):
        delta = (high - low) / (2**bits - 1) * (percent / 100)
        zero = (-low * (percent / 100) / delta).round()
        codes = (weight / delta[:, None] + zero[:, None]).round().clamp(0, 2**bits - 1)
        error = ((codes - zero[:, None]) * delta[:, None] - weight).abs().pow(2.4).sum(1)
        best = torch.where(error < lowest, delta, best)
        lowest = torch.minimum(error, lowest)
    assert torch.allclose(clipped_grid(weight, bits).scale, best, rtol=1e-6)


def test_clipping_lowers_the_error_that_it_looks_at():
    weight = random_weight(16, 200)
    errors = []
    for grid in (minmax_grid(weight, 3, symmetric=False), clipped_grid(weight, 3)):
        errors.append((grid.values(grid.codes(weight)) - weight).abs().pow(2.4).mean(1))
    assert bool((errors[1] <= errors[0]).all())
    assert float(errors[1].mean()) < 0.8 * float(errors[0].mean())


@pytest.mark.parametrize("levels", ["symmetric", "asymmetric", "clipped"])
@pytest.mark.parametrize("bits", [2, 5, 8])
def test_exact_zeros_stay_whatever_the_range(levels, bits):
    weight = torch.cat([random_weight(2, 9), random_weight(2, 9).abs(), -random_weight(2, 9).abs()])
    weight[:, 4] = 0
    grid = make_grid(weight, bits, levels=levels)
    assert not bool(grid.values(grid.codes(weight))[:, 4].any())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_types_keep_theirs(dtype):
    weight = random_weight(4, 30, dtype=torch.float64).mul(0.003).to(dtype)
    grid = clipped_grid(weight, 8)
    values = grid.values(grid.codes(weight))
    assert grid.scale.dtype == values.dtype == dtype
    assert float((values - weight).abs().amax() / weight.abs().amax()) < 0.02


@pytest.mark.parametrize("value", [1e-44, 1e-30, 1e30])
def test_extreme_sizes_stay_finite(value):
    weight = random_weight(2, 5) * value
    for levels in ("symmetric", "asymmetric", "clipped"):
        grid = make_grid(weight, 8, levels=levels)
        values = grid.values(grid.codes(weight))
        assert bool(values.isfinite().all())
        assert bool(((values - weight).abs() <= max(value * 0.1, 1e-37)).all())


def test_logits_and_soft_rounding_at_the_printed_values():
    fractions = torch.tensor([0.0, 0.25, 0.5, 0.9])
    logits = rounding_logits(fractions)
    assert torch.allclose(logits, torch.tensor([-2.3979, -0.8873, 0.0, 1.6094]), atol=5e-5)
    assert torch.allclose(soft_rounding(logits), fractions, atol=1e-6)
    assert soft_rounding(torch.tensor([-10.0, 10.0])).tolist() == [0.0, 1.0]


@given(st.one_of(st.integers(0, 2**24 - 1), st.integers(2**23 - 9, 2**23 + 9)))
def test_the_sign_of_the_logit_is_that_of_the_fraction_minus_a_half(numerator):
    fraction = numerator / 2**24
    logit = float(rounding_logits(torch.tensor(fraction)))
    assert (logit >= 0) == (fraction >= 0.5)


def quantizer_of(bits=3, seed=0):
    weight = random_weight(6, 40, seed=seed)
    return weight, WeightQuantizer(weight, bits)


@pytest.mark.parametrize("seed", range(3))
def test_soft_rounding_begins_at_the_weight_itself_where_it_is_in_range(seed):
    weight, quantizer = quantizer_of(seed=seed)
    scaled = weight / quantizer.scale[:, None].detach()
    lower = scaled.floor() + quantizer.zero[:, None]
    quantizer.soften(weight)
    inside = (lower >= 0) & (lower + 1 <= 7)
    assert 0.5 < float(inside.float().mean()) < 1
    assert torch.allclose(quantizer()[inside], weight[inside], atol=1e-6)


def test_hard_rounding_at_the_start_is_half_up():
    weight = torch.tensor([[-3.5, -2.5, -0.5, 0.5, 1.5, 2.5, 0.2, 3.5]])
    quantizer = WeightQuantizer(weight, 8)
    quantizer.scale.data.fill_(1.0)
    quantizer.soften(weight)
    quantizer.harden()
    assert quantizer().tolist() == [[-3.0, -2.0, 0.0, 1.0, 2.0, 3.0, 0.0, 4.0]]
    weight, quantizer = quantizer_of()
    scaled = weight / quantizer.scale[:, None].detach()
    quantizer.soften(weight)
    quantizer.harden()
    zero = quantizer.zero[:, None].float()
    expected = ((scaled + 0.5).floor() + zero).clamp(0, 7) - zero
    assert torch.equal(quantizer(), expected * quantizer.scale[:, None])
    assert torch.equal(quantizer.grid.values(quantizer.codes), quantizer())


def test_soft_weights_are_differentiable_in_logits_and_scale():
    weight, quantizer = quantizer_of()
    quantizer.double()
    quantizer.soften(weight.double())
    with torch.no_grad():
        quantizer.logits.mul_(0.7)
    direction = random_weight(6, 40, seed=9, dtype=torch.float64)
    (quantizer() * direction).sum().backward()
    for parameter in (quantizer.logits, quantizer.scale):
        for place in (0, 5):
            saved = parameter.detach().flatten()[place].clone()
            sides = []
            for shift in (1e-6, -1e-6):
                parameter.data.view(-1)[place] = saved + shift
                sides.append((quantizer() * direction).sum().item())
            parameter.data.view(-1)[place] = saved
            numeric = (sides[0] - sides[1]) / 2e-6
            assert float(parameter.grad.flatten()[place]) == pytest.approx(numeric, abs=1e-6)


def test_zeros_stay_zero_in_every_mode():
    weight = random_weight(4, 10)
    weight[:, ::3] = 0
    quantizer = WeightQuantizer(weight, 2)
    assert not bool(quantizer()[:, ::3].any())
    quantizer.soften(weight)
    with torch.no_grad():
        quantizer.logits.fill_(5.0)
    assert not bool(quantizer()[:, ::3].any())
    quantizer.harden()
    assert not bool(quantizer()[:, ::3].any())
    assert bool(quantizer()[:, 1].any())


def test_an_all_zero_channel_gets_scale_one_and_a_warning():
    weight = random_weight(3, 5)
    weight[1] = 0
    with pytest.warns(UserWarning, match="1 of 3 channels of a weight are all zero"):
        quantizer = WeightQuantizer(weight, 4)
    assert quantizer.scale[1].item() == 1.0
    assert not bool(quantizer()[1].any())


def test_hardening_needs_soft_rounding():
    with pytest.raises(RuntimeError, match="the mode is 'nearest'"):
        quantizer_of()[1].harden()


@pytest.mark.parametrize("bits", [1, 9, 2.0])
def test_bits_out_of_range_are_refused(bits):
    for build in (minmax_grid, clipped_grid, WeightQuantizer):
        with pytest.raises(ValueError, match=r"allowed are 2\.\.8"):
            build(torch.ones(2, 2), bits)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value):
    for build in (minmax_grid, clipped_grid, WeightQuantizer):
        with pytest.raises(ValueError, match="NaN or infinite"):
            build(torch.tensor([[1.0, value]]), 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"per": "row"}, "per is 'row'"),
        ({"per": "group"}, "a group goes with per='group'"),
        ({"group": 3}, "a group goes with per='group'"),
        ({"per": "group", "group": 0}, "group is 0; allowed >= 1"),
    ],
)
def test_other_bad_grids_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        minmax_grid(torch.ones(2, 2), 4, **arguments)


def test_other_bad_weights_are_refused():
    for weight in (torch.ones(3), torch.ones(0, 3), torch.ones(2, 2, dtype=torch.int64)):
        with pytest.raises(ValueError, match="two or more axes"):
            minmax_grid(weight, 4)
    with pytest.raises(ValueError, match="power is 0"):
        clipped_grid(torch.ones(2, 2), 4, power=0)
    with pytest.raises(ValueError, match="levels is 'log'"):
        make_grid(torch.ones(2, 2), 4, levels="log")
