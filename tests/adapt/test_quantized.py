"""Merging into quantised weights."""

import pytest
import torch
from torch import nn

from overparam.adapt import inject_ssf, merge_quantized, merge_ssf, pairs, quantize_symmetric
from overparam.models import TinyConvNeXt, TinyViT, seeded


@pytest.mark.parametrize("granularity", ["channel", "tensor"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_rounding_is_nearest_on_the_grid(bits, granularity):
    weight = torch.randn(5, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    codes, steps = quantize_symmetric(weight, bits, granularity)
    assert codes.abs().max() == 2 ** (bits - 1) - 1
    error = (codes * steps.view(-1, 1, 1, 1) - weight).abs()
    assert (error <= steps.view(-1, 1, 1, 1) / 2 * (1 + 1e-5)).all()
    if granularity == "tensor":
        assert len(steps.unique()) == 1


def test_zero_channels_stay_zero():
    codes, steps = quantize_symmetric(torch.zeros(2, 3), 8, "channel")
    assert codes.eq(0).all()
    assert steps.isfinite().all()


@pytest.mark.parametrize("factory", [TinyViT, TinyConvNeXt])
def test_per_channel_steps_take_pairs_without_a_second_rounding(factory):
    model = inject_ssf(seeded(factory, 0), std=0.3)
    merged, report = merge_quantized(model, bits=4)
    assert not pairs(merged)
    for name in report["operation"]:
        base = model.get_submodule(name).weight.detach()
        pair = pairs(model).get(name)
        codes, steps = quantize_symmetric(base, 4, "channel")
        scale = torch.ones_like(steps) if pair is None else pair.scale.detach()
        expected = codes * (scale * steps).view(-1, *([1] * (base.ndim - 1)))
        torch.testing.assert_close(merged.get_submodule(name).weight.detach(), expected)
    # One step per channel: rounding before or after scaling gives the same codes.
    torch.testing.assert_close(
        torch.tensor(report["fold_error"]),
        torch.tensor(report["round_after_error"]),
        atol=1e-5,
        rtol=0,
    )
    x = torch.randn(4, 1, 8, 8)
    fine = merge_quantized(model, bits=16)[0]
    assert (fine(x) - model(x)).abs().max() < 1e-3
    assert (merged(x) - model(x)).abs().max() > (fine(x) - model(x)).abs().max()


def test_one_step_per_tensor_needs_the_second_rounding():
    model = inject_ssf(seeded(TinyViT, 0), std=0.3)
    _, channel = merge_quantized(model, bits=4)
    _, tensor = merge_quantized(model, bits=4, granularity="tensor")
    paired = tensor["has_pair"]
    assert (tensor["fold_error"] > tensor["round_after_error"])[paired].mean() > 0.8
    assert tensor["fold_error"][paired].mean() > channel["fold_error"][paired].mean()
    assert list(tensor["operation"][~paired]) == ["head"]


def test_norms_and_biases_keep_their_floats():
    model = inject_ssf(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), head=None, std=0.3)
    exact, merged = merge_ssf(model), merge_quantized(model, bits=8)[0]
    assert torch.equal(merged[1].weight, exact[1].weight)
    assert torch.equal(merged[0].bias, exact[0].bias)


def test_refusals():
    with pytest.raises(ValueError, match="no pairs"):
        merge_quantized(TinyViT())
    model = inject_ssf(TinyViT())
    with pytest.raises(ValueError, match="bits"):
        merge_quantized(model, bits=1)
    with pytest.raises(ValueError, match="granularity"):
        merge_quantized(model, granularity="row")
