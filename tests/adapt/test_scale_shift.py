"""Pairs: what they compute, where they go, what is trained."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from overparam.adapt import (
    ScaleShift,
    bitfit,
    inject_ssf,
    insertion_points,
    load_ssf,
    pairs,
    ssf_state,
)
from overparam.models import ResidualMLP, TinyConvNeXt, TinyMixer, TinyViT, seeded
from overparam.models.tiny_convnext import LayerNorm2d

FAMILIES = {
    "vit": (TinyViT, 4 * 6 + 2),
    "mlp": (ResidualMLP, 1 + 4 * 3 + 1),
    "convnext": (TinyConvNeXt, 2 + 4 * 4 + 2 + 1),
}


def images(n=3, seed=0):
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("axis", "shape"), [(-1, (2, 5, 3)), (1, (2, 3, 4, 5)), (-3, (2, 3, 4, 5)), (-3, (3, 4, 5))]
)
def test_pair_equals_a_loop_over_channels(axis, shape):
    pair = ScaleShift(3, axis, std=0.5, generator=torch.Generator().manual_seed(1)).double()
    x = torch.randn(shape, dtype=torch.float64)
    expected = x.clone()
    for c in range(3):
        part = expected.select(axis, c)
        part.mul_(pair.scale[c].item()).add_(pair.shift[c].item())
    torch.testing.assert_close(pair(x), expected, rtol=0, atol=1e-14)


def test_gradients_at_the_start_are_the_closed_form():
    pair = ScaleShift(4, -1, init="identity").double()
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    y = pair(x)
    upstream = torch.randn_like(y)
    y.backward(upstream)
    torch.testing.assert_close(pair.scale.grad, (x * upstream).sum((0, 1)))
    torch.testing.assert_close(pair.shift.grad, upstream.sum((0, 1)))


@pytest.mark.parametrize("learn", ["scale", "shift"])
def test_one_part_alone(learn):
    pair = ScaleShift(3, -1, learn=learn, generator=torch.Generator().manual_seed(0))
    x = torch.randn(5, 3)
    assert [name for name, _ in pair.named_parameters()] == [learn]
    expected = x * pair.scale if learn == "scale" else x + pair.shift
    assert torch.equal(pair(x), expected)


def test_normal_start_has_the_stated_moments_and_follows_the_seed():
    first, again = (
        ScaleShift(20000, -1, generator=torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert torch.equal(first.scale, again.scale)
    assert first.scale.mean().item() == pytest.approx(1, abs=1e-3)
    assert first.shift.mean().item() == pytest.approx(0, abs=1e-3)
    assert first.scale.std().item() == pytest.approx(0.02, rel=0.03)
    assert first.shift.std().item() == pytest.approx(0.02, rel=0.03)


def test_axis_comes_from_the_type_where_all_sizes_are_equal():
    conv = nn.Conv2d(3, 8, 3, padding=1)
    x = torch.randn(2, 3, 8, 8)
    plain = conv(x)
    inject_ssf(conv, head=None, std=0.5)
    expected = torch.stack(
        [plain[:, c] * conv.ssf.scale[c] + conv.ssf.shift[c] for c in range(8)], dim=1
    )
    columns = plain * conv.ssf.scale + conv.ssf.shift
    torch.testing.assert_close(conv(x), expected)
    assert (conv(x) - columns).abs().max() > 0.1


@pytest.mark.parametrize(
    ("module", "axis"),
    [
        (nn.Conv1d(2, 4, 3), -2),
        (nn.Conv3d(2, 4, 3), -4),
        (nn.ConvTranspose2d(2, 4, 3), -3),
        (nn.BatchNorm1d(4), 1),
        (nn.BatchNorm3d(4), 1),
        (nn.GroupNorm(2, 4), 1),
        (nn.LayerNorm((2, 4)), -1),
        (LayerNorm2d(4), 1),
    ],
)
def test_axis_of_each_type(module, axis):
    assert insertion_points(module, head=None) == {"": axis}


class ChannelsFirstNorm(nn.LayerNorm):
    """Like the layer norms over images in the wild, and without a declared axis."""

    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class StandardizedConv(nn.Conv2d):
    """Scaling this weight does not scale the output."""

    def forward(self, x):
        return self._conv_forward(x, self.weight / self.weight.std(), self.bias)


class ActivatedLinear(nn.Linear):
    """Ends in a nonlinearity."""

    def forward(self, x):
        return torch.relu(super().forward(x))


def test_axis_of_unknown_subclasses_is_found_by_experiment():
    assert insertion_points(ChannelsFirstNorm(5), head=None) == {"": 1}
    assert insertion_points(ChannelsFirstNorm(2), head=None) == {"": 1}
    for module in (StandardizedConv(2, 3, 3), ActivatedLinear(3, 4)):
        with pytest.raises(ValueError, match="their own forward"):
            insertion_points(module, head=None)
    with torch.device("meta"):
        unknown = ChannelsFirstNorm(5)
    with pytest.raises(ValueError, match="ChannelsFirstNorm"):
        insertion_points(unknown, head=None)
    assert insertion_points(unknown, head=None, axes={ChannelsFirstNorm: 1}) == {"": 1}


@pytest.mark.parametrize("family", FAMILIES)
def test_named_rules_take_every_place_of_the_paper(family):
    factory, count = FAMILIES[family]
    model = factory()
    named = insertion_points(model, family)
    assert len(named) == count
    assert named == insertion_points(model, "generic")
    assert "head" not in named


def skeleton(names):
    """A tree with a linear map at each dotted name, for rules that read names alone."""
    root = nn.Module()
    for name in names:
        node = root
        *parents, last = name.split(".")
        for part in parents:
            if not hasattr(node, part):
                node.add_module(part, nn.Module())
            node = getattr(node, part)
        node.add_module(last, nn.Linear(2, 2))
    return root


@pytest.mark.parametrize(
    ("family", "names"),
    [
        (
            "swin",
            "patch_embed.proj patch_embed.norm layers.0.blocks.1.norm1 layers.0.blocks.1.attn.qkv "
            "layers.0.blocks.1.attn.proj layers.0.blocks.1.norm2 layers.0.blocks.1.mlp.fc1 "
            "layers.0.blocks.1.mlp.fc2 layers.1.downsample.norm layers.1.downsample.reduction norm",
        ),
        (
            "convnext",
            "stem.0 stem.1 stages.0.blocks.0.conv_dw stages.0.blocks.0.norm "
            "stages.0.blocks.0.mlp.fc1 "
            "stages.0.blocks.0.mlp.fc2 stages.1.downsample.0 stages.1.downsample.1 head.norm",
        ),
        (
            "vit",
            "patch_embed.proj blocks.11.norm1 blocks.11.attn.qkv blocks.11.mlp.fc2 norm fc_norm",
        ),
    ],
)
def test_named_rules_know_the_public_names(family, names):
    model = skeleton([*names.split(), "blocks.0.attn.q_norm", "head.fc"])
    assert set(insertion_points(model, family)) == set(names.split())


def test_mixer_under_the_mlp_rule_has_every_operation():
    model = TinyMixer()
    assert insertion_points(model, "mlp") == insertion_points(model, "generic")


def test_parameter_count_of_the_small_transformer():
    model = inject_ssf(TinyViT(), "vit")
    assert sum(p.numel() for pair in pairs(model).values() for p in pair.parameters()) == 3648


def test_parameter_count_of_vit_b_16_without_weights():
    with torch.device("meta"):
        model = TinyViT(
            image_size=224,
            patch_size=16,
            in_channels=3,
            dim=768,
            depth=12,
            heads=12,
            mlp_ratio=4,
            classes=100,
            pool="cls",
        )
    inject_ssf(model)
    count = sum(p.numel() for pair in pairs(model).values() for p in pair.parameters())
    assert count == 205_824
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 205_824 + 76_900


@pytest.mark.parametrize("family", FAMILIES)
def test_identity_start_is_bit_equal_to_the_base(family):
    model = seeded(FAMILIES[family][0], 0)
    before = model(images())
    inject_ssf(model, family, init="identity")
    assert torch.equal(model(images()), before)


def test_only_pairs_and_head_get_gradients_and_the_base_keeps_its_keys():
    model = TinyViT()
    base_keys = set(model.state_dict())
    inject_ssf(model)
    model(images()).square().sum().backward()
    got = {name for name, p in model.named_parameters() if p.grad is not None}
    assert got == {n for n, _ in model.named_parameters() if ".ssf." in n or n.startswith("head.")}
    assert base_keys <= set(model.state_dict())
    assert all(p.grad.abs().sum() > 0 for p in model.parameters() if p.grad is not None)


def test_state_travels_between_models():
    trained, other = (inject_ssf(seeded(ResidualMLP, 0), seed=seed) for seed in (1, 2))
    assert not torch.equal(trained(images()), other(images()))
    load_ssf(other, ssf_state(trained))
    assert torch.equal(trained(images()), other(images()))


def test_loading_another_width_names_the_layer_and_changes_nothing():
    model = inject_ssf(ResidualMLP(hidden=128))
    wrong = ssf_state(inject_ssf(ResidualMLP(hidden=96), seed=5))
    before = ssf_state(model)
    with pytest.raises(RuntimeError, match=r"blocks\.0\.mlp\.fc1 has 128 channels"):
        load_ssf(model, wrong)
    assert all(torch.equal(before[k], v) for k, v in ssf_state(model).items())
    with pytest.raises(RuntimeError, match="missing"):
        load_ssf(model, {})


def test_exclude_and_functions_choose_places():
    model = ResidualMLP()
    points = insertion_points(model, exclude=("blocks.[01].*", "stem"))
    assert set(points) == {
        f"blocks.{i}.{n}" for i in (2, 3) for n in ("norm", "mlp.fc1", "mlp.fc2")
    } | {"norm"}
    assert set(insertion_points(model, lambda name, module: name == "norm")) == {"norm"}


def test_choosing_the_head_warns():
    with pytest.warns(UserWarning, match="head"):
        inject_ssf(ResidualMLP(), lambda name, module: isinstance(module, nn.Linear))


def test_bad_input_is_refused_before_anything_changes():
    model = ResidualMLP()
    frozen_before = [p.requires_grad for p in model.parameters()]
    for call, error, message in (
        (lambda: inject_ssf(model, "swinn"), ValueError, "swinn"),
        (
            lambda: inject_ssf(model, "convnext", exclude=("norm", "stem*", "blocks.*")),
            ValueError,
            "match no operation",
        ),
        (lambda: inject_ssf(model, exclude=("block.0",)), ValueError, r"'block\.0' matches no"),
        (lambda: inject_ssf(model, exclude="stem"), TypeError, "sequence"),
        (lambda: inject_ssf(model, head="top"), ValueError, "'top'"),
        (lambda: inject_ssf(model, init="ones"), ValueError, "ones"),
        (lambda: inject_ssf(model, std=-1.0), ValueError, "std"),
        (lambda: inject_ssf(nn.Sequential(nn.ReLU()), head=None), ValueError, "match no operation"),
        (lambda: inject_ssf(nn.Sequential(nn.ReLU())), ValueError, "no head"),
    ):
        with pytest.raises(error, match=message):
            call()
    assert not pairs(model)
    assert [p.requires_grad for p in model.parameters()] == frozen_before
    with pytest.raises(RuntimeError, match="already has"):
        inject_ssf(inject_ssf(model))


def test_tied_weights_are_refused():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2))
    model[2].weight = model[0].weight
    with pytest.raises(ValueError, match="'0' and '2' share their weight"):
        inject_ssf(model)
    inject_ssf(model, exclude=("0", "2"), rules=lambda name, module: name == "3", head=None)
    tied_to_embedding = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5), nn.Linear(5, 2))
    tied_to_embedding[1].weight = tied_to_embedding[0].weight
    with pytest.raises(ValueError, match="share"):
        inject_ssf(tied_to_embedding)


def test_one_module_called_twice_has_one_pair():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(4, 2))
    assert list(pairs(inject_ssf(model))) == ["0"]


def test_computed_weights_are_refused():
    with pytest.raises(ValueError, match="computed"):
        inject_ssf(nn.Sequential(weight_norm(nn.Linear(3, 3)), nn.Linear(3, 2)))


def test_wrong_number_of_channels_is_refused_where_broadcasting_would_pass():
    with pytest.raises(RuntimeError, match="expected 3 channels"):
        ScaleShift(3, -1)(torch.zeros(2, 1))


def test_copies_are_independent():
    model = inject_ssf(ResidualMLP())
    clone = copy.deepcopy(model)
    with torch.no_grad():
        clone.get_submodule("stem").ssf.scale.zero_()
    assert model.stem.ssf.scale.abs().sum() > 0
    assert not torch.equal(model(images()), clone(images()))
    bitfit(clone)
    assert model.stem.ssf.scale.requires_grad
