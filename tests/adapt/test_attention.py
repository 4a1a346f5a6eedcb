"""Opening torch's attention for pairs, and closing it again."""

import pytest
import torch
from torch import nn

from overparam.adapt import inject_ssf, merge_ssf, pairs, rejoin_attention, separate_attention
from overparam.adapt.attention import SeparateAttention


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("widths", [{}, {"kdim": 5, "vdim": 7}])
@pytest.mark.parametrize("average", [True, False])
def test_open_attention_equals_torch(bias, batch_first, widths, average):
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(8, 2, bias=bias, batch_first=batch_first, **widths).double()
    opened = SeparateAttention(layer)
    query = torch.randn(3, 4, 8, dtype=torch.float64)
    key = torch.randn(3, 6, widths.get("kdim", 8), dtype=torch.float64)
    value = torch.randn(3, 6, widths.get("vdim", 8), dtype=torch.float64)
    padding = torch.zeros(3, 6, dtype=torch.bool)
    padding[1, 4:] = True
    mask = torch.randn(6, 4, 6, dtype=torch.float64)
    if not batch_first:
        query, key, value = (x.transpose(0, 1) for x in (query, key, value))
    for options in (
        {},
        {"key_padding_mask": padding},
        {"attn_mask": torch.ones(4, 6, dtype=torch.bool).triu(2)},
        {"attn_mask": mask},
        {"need_weights": False},
    ):
        expected = layer(query, key, value, average_attn_weights=average, **options)
        got = opened(query, key, value, average_attn_weights=average, **options)
        for a, b in zip(got, expected, strict=True):
            assert (a is None) == (b is None)
            if b is not None:
                torch.testing.assert_close(a, b, rtol=0, atol=1e-13)


def test_one_sample_without_a_batch_axis():
    layer = nn.MultiheadAttention(8, 2).double()
    x = torch.randn(5, 8, dtype=torch.float64)
    for a, b in zip(SeparateAttention(layer)(x, x, x), layer(x, x, x), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-13)


def encoder():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    return nn.Sequential(
        nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(8, 3)
    )


@pytest.mark.parametrize("training", [True, False])
def test_pairs_in_a_torch_encoder_fold_away_and_leave_its_class_tree(training):
    model, plain = encoder().double().train(training), encoder().double()
    with pytest.raises(ValueError, match="separate_attention"):
        inject_ssf(model)
    inject_ssf(separate_attention(model), std=0.3)
    assert len(pairs(model)) == 2 * (4 + 2 + 2)
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    merged = rejoin_attention(merge_ssf(model))
    with torch.no_grad():
        assert (merged(x) - model(x)).abs().max() < 1e-12
        assert (plain(x) - model(x)).abs().max() > 1e-2
    assert [type(m) for m in merged.modules()] == [type(m) for m in plain.modules()]
    assert merged.state_dict().keys() == plain.state_dict().keys()


def test_created_biases_survive_rejoining():
    torch.manual_seed(0)
    model = nn.ModuleDict({"attention": nn.MultiheadAttention(8, 2, bias=False, batch_first=True)})
    inject_ssf(separate_attention(model), head=None, std=0.3)
    x = torch.randn(2, 5, 8)
    expected = model["attention"](x, x, x)[0]
    merged = rejoin_attention(merge_ssf(model))["attention"]
    torch.testing.assert_close(merged(x, x, x)[0], expected, rtol=0, atol=1e-5)
    assert merged.in_proj_bias is not None


def test_refusals():
    with pytest.raises(ValueError, match=r"no nn\.MultiheadAttention"):
        separate_attention(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="add_bias_kv"):
        separate_attention(nn.Sequential(nn.MultiheadAttention(4, 2, add_bias_kv=True)))
    with pytest.raises(ValueError, match="no SeparateAttention"):
        rejoin_attention(nn.Sequential(nn.Linear(2, 2)))
    model = inject_ssf(separate_attention(encoder()))
    with pytest.raises(RuntimeError, match="merge it first"):
        rejoin_attention(model)
