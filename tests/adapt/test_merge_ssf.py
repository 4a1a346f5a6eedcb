"""Folding pairs away is exact, back always, forward where it can be."""

import gc
import weakref

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from overparam.adapt import inject_lora, inject_ssf, merge_lora, merge_ssf, pairs, unmerge
from overparam.adapt.merge import Direction
from overparam.models import ResidualMLP, TinyConvNeXt, TinyMixer, TinyViT, seeded
from overparam.models.tiny_convnext import LayerNorm2d

IMAGE = (2, 4, 9, 9)

OPERATIONS = {
    "linear without bias": (lambda: nn.Linear(4, 6, bias=False), (3, 4)),
    "linear": (lambda: nn.Linear(4, 6), (3, 5, 4)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, padding=1), (2, 4, 9)),
    "conv2d with zero padding": (lambda: nn.Conv2d(4, 6, 3, padding=1), IMAGE),
    "conv2d without bias": (lambda: nn.Conv2d(4, 6, 3, padding=1, bias=False), IMAGE),
    "grouped conv2d": (lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2), IMAGE),
    "depthwise conv2d": (lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4), IMAGE),
    "strided dilated conv2d": (lambda: nn.Conv2d(4, 6, 3, stride=2, dilation=2), IMAGE),
    "reflecting conv2d": (lambda: nn.Conv2d(4, 6, 3, padding=2, padding_mode="reflect"), IMAGE),
    "conv3d": (lambda: nn.Conv3d(4, 6, 2), (2, 4, 3, 4, 5)),
    "transposed conv2d": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2), IMAGE),
    "grouped transposed conv1d": (lambda: nn.ConvTranspose1d(4, 6, 3, groups=2), (2, 4, 9)),
    "layer norm": (lambda: nn.LayerNorm(4), (3, 5, 4)),
    "layer norm without affine": (lambda: nn.LayerNorm(4, elementwise_affine=False), (3, 5, 4)),
    "layer norm without bias": (lambda: nn.LayerNorm(4, bias=False), (3, 5, 4)),
    "layer norm over two axes": (lambda: nn.LayerNorm((5, 4)), (3, 5, 4)),
    "layer norm over channels": (lambda: LayerNorm2d(4), IMAGE),
    "batch norm": (lambda: nn.BatchNorm2d(4), IMAGE),
    "batch norm without affine": (lambda: nn.BatchNorm2d(4, affine=False), IMAGE),
    "batch norm of vectors": (lambda: nn.BatchNorm1d(4), (3, 4)),
    "group norm": (lambda: nn.GroupNorm(2, 4), IMAGE),
    "group norm without affine": (lambda: nn.GroupNorm(2, 4, affine=False), IMAGE),
}


def shaken(model, dtype=torch.float64, seed=0):
    """Random values in every parameter and statistic, so that no fold is trivially right."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.3)
    return model.to(dtype).eval()


@pytest.mark.parametrize("learn", ["both", "scale", "shift"])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("name", OPERATIONS)
def test_merging_back_keeps_the_function(name, dtype, bound, learn):
    factory, shape = OPERATIONS[name]
    model = shaken(nn.Sequential(factory()), dtype)
    inject_ssf(model, head=None, std=0.5, learn=learn).to(dtype)
    x = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    merged = merge_ssf(model)
    expected = model(x).detach()
    assert (expected - model[0].ssf(expected)).abs().max() > 1e-3
    assert (merged(x) - expected).abs().max() < bound * max(1, float(expected.abs().max()))
    assert [type(m) for m in merged.modules()] == [nn.Sequential, type(factory())]
    if dtype == torch.float64:
        assert (merged(x) - expected).abs().max() < 1e-12


@pytest.mark.parametrize(
    ("factory", "shape"),
    [
        (TinyViT, (2, 1, 8, 8)),
        (TinyConvNeXt, (2, 1, 8, 8)),
        (ResidualMLP, (2, 1, 8, 8)),
        (TinyMixer, (2, 1, 8, 8)),
        (lambda: TinyConvNeXt(layer_scale=0.5), (2, 1, 8, 8)),
    ],
)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_merged_networks_have_the_original_tree_and_function(factory, shape, dtype, bound):
    original = seeded(factory, 0).to(dtype)
    model = inject_ssf(seeded(factory, 0).to(dtype), std=0.1)
    merged = merge_ssf(model)
    x = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    assert (model(x) - original(x)).abs().max() > 1e-3
    assert (merged(x) - model(x)).abs().max() < bound
    assert [(n, type(m)) for n, m in merged.named_modules()] == [
        (n, type(m)) for n, m in original.named_modules()
    ]
    shapes = {key: value.shape for key, value in original.state_dict().items()}
    assert {key: value.shape for key, value in merged.state_dict().items()} == shapes


def test_created_biases_are_the_only_new_parameters():
    model = nn.Sequential(nn.Linear(4, 6, bias=False), nn.LayerNorm(6, elementwise_affine=False))
    inject_ssf(model, head=None)
    merged = merge_ssf(model)
    assert set(merged.state_dict()) == {"0.weight", "0.bias", "1.weight", "1.bias"}
    assert merged[1].elementwise_affine
    assert (
        "0.bias"
        not in merge_ssf(
            inject_ssf(nn.Sequential(nn.Linear(4, 6, bias=False)), head=None, learn="scale")
        ).state_dict()
    )


def test_merged_model_keeps_no_reference_to_the_pairs():
    model = inject_ssf(ResidualMLP())
    merged = merge_ssf(model)
    watched = [weakref.ref(pair) for pair in pairs(model).values()]
    tensors = [weakref.ref(p) for pair in pairs(model).values() for p in pair.parameters()]
    assert not any(module._forward_hooks for module in merged.modules())
    del model
    gc.collect()
    assert all(ref() is None for ref in [*watched, *tensors])
    merged(torch.zeros(1, 64))


def test_merging_leaves_the_adapted_model_as_it_was():
    model = inject_ssf(ResidualMLP())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    merge_ssf(model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


FORWARD = {
    "linear": (lambda: nn.LayerNorm(4), lambda: nn.Linear(4, 3), (2, 5, 4)),
    "linear without bias": (lambda: nn.LayerNorm(4), lambda: nn.Linear(4, 3, bias=False), (2, 4)),
    "conv": (lambda: nn.BatchNorm2d(4), lambda: nn.Conv2d(4, 6, 3, stride=2), IMAGE),
    "grouped": (lambda: nn.GroupNorm(2, 4), lambda: nn.Conv2d(4, 6, 3, groups=2), IMAGE),
    "circular": (
        lambda: LayerNorm2d(4),
        lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"),
        IMAGE,
    ),
}


@pytest.mark.parametrize("name", FORWARD)
def test_pushing_forward_keeps_the_function_and_the_norm(name):
    norm, reader, shape = FORWARD[name]
    model = shaken(nn.Sequential(norm(), reader()))
    norm_before = {k: v.clone() for k, v in model[0].state_dict().items()}
    inject_ssf(model, head=None, std=0.5)
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    merged = merge_ssf(model, "forward")
    assert (merged(x) - model(x)).abs().max() < 1e-12
    assert all(torch.equal(v, norm_before[k]) for k, v in merged[0].state_dict().items())


def test_pushing_forward_into_zero_padding_is_wrong_and_refused():
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, padding=1)).double().eval()
    inject_ssf(model, lambda name, module: name == "0", head=None, std=0.5)
    pair, conv = model[0].ssf, model[1]
    x = torch.randn(IMAGE, dtype=torch.float64)
    naive = nn.Conv2d(4, 6, 3, padding=1).double()
    with torch.no_grad():
        naive.weight.copy_(conv.weight * pair.scale[:, None, None])
        naive.bias.copy_(conv.bias + torch.einsum("oikl,i->o", conv.weight, pair.shift))
        plain = nn.functional.batch_norm(x, model[0].running_mean, model[0].running_var, eps=1e-5)
        difference = (naive(plain) - model(x)).abs()
    assert difference.max() > 1e-3
    assert difference[..., 1:-1, 1:-1].max() < 1e-12
    with pytest.raises(ValueError, match="pads with zeros"):
        merge_ssf(model, "forward")


class TwoReaders(nn.Module):
    def __init__(self, keep_norm: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 3, bias=False)
        self.keep_norm = keep_norm

    def forward(self, x):
        z = self.norm(x)
        y = self.a(z) * torch.tanh(self.b(z))
        return y + z[..., :3] if self.keep_norm else y


def test_two_readers_take_the_pair_and_a_residual_reader_refuses_it():
    x = torch.randn(5, 4, dtype=torch.float64)
    model = inject_ssf(TwoReaders(False).double(), head=None, std=0.5)
    assert (merge_ssf(model, "forward")(x) - model(x)).abs().max() < 1e-12
    kept = inject_ssf(TwoReaders(True).double(), head=None, std=0.5)
    with pytest.raises(ValueError, match="has no weight to take it"):
        merge_ssf(kept, "forward")


def test_directions_by_pattern():
    model = inject_ssf(TinyViT().double(), std=0.1)
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    with pytest.raises(ValueError, match="pair after 'norm'"):
        merge_ssf(model, "forward")
    directions: dict[str, Direction] = {"blocks.*.norm?": "forward"}
    merged = merge_ssf(model, directions)
    assert (merged(x) - model(x)).abs().max() < 1e-12
    assert torch.equal(merged.blocks[0].norm1.weight, torch.ones(48, dtype=torch.float64))
    with pytest.raises(ValueError, match="matches no pair"):
        merge_ssf(model, {"block.*": "forward"})
    with pytest.raises(ValueError, match="sideways"):
        merge_ssf(model, "sideways")
    with pytest.raises(ValueError, match=r"not a linear map|no weight"):
        merge_ssf(model, {"blocks.0.mlp.fc1": "forward"})


def test_refusals():
    with pytest.raises(ValueError, match="no pairs"):
        merge_ssf(ResidualMLP())
    model = inject_ssf(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), head=None)
    with pytest.raises(RuntimeError, match="train mode"):
        merge_ssf(model)
    merge_ssf(model.eval())


@pytest.mark.parametrize("first", [inject_lora, inject_ssf])
def test_stacked_additions_are_merged_one_by_one(first):
    second = inject_ssf if first is inject_lora else inject_lora
    merge_first = merge_lora if first is inject_lora else merge_ssf
    model = second(first(ResidualMLP()))
    for merge in (merge_ssf, merge_lora):
        with pytest.raises(RuntimeError, match="also carries"):
            merge(model)
    merge_ssf(inject_ssf(merge_lora(inject_lora(ResidualMLP()))))
    assert not pairs(merge_first(first(ResidualMLP())))


@settings(max_examples=25, deadline=None)
@given(
    groups=st.sampled_from([1, 2, 4]),
    kernel=st.integers(1, 3),
    padding=st.integers(0, 2),
    stride=st.integers(1, 3),
    bias=st.booleans(),
    transposed=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_convolution_folds(groups, kernel, padding, stride, bias, transposed, seed):
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    padding = min(padding, kernel - 1)
    conv = kind(4, 8, kernel, stride=stride, padding=padding, groups=groups, bias=bias)
    model = inject_ssf(shaken(nn.Sequential(conv), seed=seed), head=None, std=0.5, seed=seed)
    x = torch.randn(2, 4, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    merged = merge_ssf(model)
    assert (merged(x) - model(x)).abs().max() < 1e-12
    back = unmerge(
        merged, {k: v for k, v in model.state_dict().items() if "ssf" not in k}, head=None
    )
    torch.testing.assert_close(back[0].ssf.scale, model[0].ssf.scale)


@pytest.mark.parametrize("factory", [TinyViT, TinyConvNeXt, ResidualMLP])
def test_unmerge_recovers_base_and_pairs(factory):
    original = {k: v.clone() for k, v in seeded(factory, 0).double().state_dict().items()}
    model = inject_ssf(seeded(factory, 0).double(), std=0.2)
    with torch.no_grad():
        model.head.weight.add_(1)
    merged = merge_ssf(model)
    again = unmerge(merged, original)
    for name, pair in pairs(model).items():
        torch.testing.assert_close(pairs(again)[name].scale, pair.scale, rtol=0, atol=1e-12)
        torch.testing.assert_close(pairs(again)[name].shift, pair.shift, rtol=0, atol=1e-12)
    state = again.state_dict()
    assert all(torch.equal(state[k], v) for k, v in original.items() if not k.startswith("head."))
    assert torch.equal(again.head.weight, model.head.weight)
    assert {n for n, p in again.named_parameters() if p.requires_grad} == {
        n for n, p in model.named_parameters() if p.requires_grad
    }


def test_unmerge_removes_what_merging_created():
    model = nn.Sequential(nn.Linear(4, 6, bias=False), nn.LayerNorm(6, elementwise_affine=False))
    original = {k: v.clone() for k, v in model.state_dict().items()}
    inject_ssf(model, head=None, std=0.3)
    again = unmerge(merge_ssf(model), original, head=None)
    assert again[0].bias is None
    assert again[1].weight is None
    assert not again[1].elementwise_affine
    x = torch.randn(3, 4)
    torch.testing.assert_close(again(x), model(x), rtol=1e-5, atol=1e-6)


def test_unmerge_refuses_what_it_cannot_take_apart():
    original = ResidualMLP()
    saved = {k: v.clone() for k, v in original.state_dict().items()}
    merged = merge_ssf(inject_ssf(original))
    with torch.no_grad():
        merged.stem.weight[0, 0] += 1
    with pytest.raises(ValueError, match=r"stem\.weight is no rescaling"):
        unmerge(merged, saved)
    with pytest.raises(ValueError, match="original lacks"):
        unmerge(merged, {})
    dead = dict(saved)
    dead["stem.weight"] = saved["stem.weight"].clone()
    dead["stem.weight"][3] = 0
    with pytest.raises(ValueError, match="zero in channel 3"):
        unmerge(merged, dead)
