"""The small transformer, ConvNeXt, residual MLP and mixer."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from overparam.models import ResidualMLP, TinyConvNeXt, TinyMixer, TinyViT, seeded
from overparam.models.tiny_convnext import LayerNorm2d

NETWORKS = [TinyViT, TinyConvNeXt, ResidualMLP, TinyMixer]


@pytest.mark.parametrize("factory", NETWORKS)
def test_shapes_and_that_samples_do_not_mix(factory):
    model = seeded(lambda: factory(classes=7), 0).double()
    x = torch.randn(5, 1, 8, 8, dtype=torch.float64)
    assert model(x).shape == (5, 7)
    torch.testing.assert_close(model(x)[3:4], model(x[3:4]))


def test_vit_b_16_has_the_published_number_of_parameters():
    with torch.device("meta"):
        model = TinyViT(
            image_size=224,
            patch_size=16,
            in_channels=3,
            dim=768,
            depth=12,
            heads=12,
            mlp_ratio=4,
            classes=1000,
            pool="cls",
        )
    assert sum(p.numel() for p in model.parameters()) == 86_567_656
    assert model(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 1000)


def test_attention_equals_torchs_fused_kernel():
    attention = seeded(lambda: TinyViT(), 0).blocks[0].attn.double()
    x = torch.randn(2, 5, 48, dtype=torch.float64)
    q, k, v = (
        part.unflatten(-1, (4, 12)).transpose(1, 2) for part in attention.qkv(x).chunk(3, dim=-1)
    )
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attention(x), attention.proj(mixed), rtol=0, atol=1e-13)


def test_patches_come_row_by_row():
    model = TinyViT(dim=4, heads=2)
    with torch.no_grad():
        model.patch_embed.proj.weight.fill_(0.25)
        model.patch_embed.proj.bias.zero_()
    x = torch.arange(64.0).view(1, 1, 8, 8)
    expected = x.view(4, 2, 4, 2).mean((1, 3)).flatten()
    torch.testing.assert_close(model.patch_embed(x)[0, :, 0], expected)


def test_pooling_by_mean_ignores_token_order_only_without_positions():
    model = seeded(TinyViT, 0).double()
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    rolled = x.roll(2, dims=-1)
    assert (model(x) - model(rolled)).abs().max() > 1e-6
    with torch.no_grad():
        model.pos_embed.zero_()
    torch.testing.assert_close(model(x), model(rolled))


def test_channel_norm_equals_a_permuted_layer_norm():
    norm = LayerNorm2d(5).double()
    x = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    expected = nn.LayerNorm(5).double()(x.movedim(1, -1)).movedim(-1, 1)
    torch.testing.assert_close(norm(x), expected)


def test_residual_mlp_by_hand():
    model = seeded(lambda: ResidualMLP(depth=1), 0).double()
    x = torch.randn(3, 64, dtype=torch.float64)
    h = model.stem(x)
    block = model.blocks[0]
    h = h + block.mlp.fc2(F.gelu(block.mlp.fc1(block.norm(h))))
    torch.testing.assert_close(model(x.view(3, 1, 8, 8)), model.head(model.norm(h)))


def test_layer_scale_zero_switches_the_blocks_off():
    model = seeded(lambda: TinyConvNeXt(dims=(8,), depths=(2,), layer_scale=0.0), 0)
    x = torch.randn(2, 1, 8, 8)
    expected = model.head(model.norm(model.stem(x).mean((2, 3))))
    torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TinyViT(patch_size=3), "patch_size 3"),
        (lambda: TinyViT(dim=50), "heads 4"),
        (lambda: TinyViT(pool="max"), "max"),
        (lambda: TinyMixer(patch_size=3), "patch_size 3"),
        (lambda: TinyConvNeXt(dims=(8, 16), depths=(1,)), "equally long"),
        (lambda: TinyConvNeXt(dims=(8, 8)), "change"),
        (lambda: TinyConvNeXt(kernel_size=4), "odd"),
    ],
)
def test_bad_settings(call, message):
    with pytest.raises(ValueError, match=message):
        call()
