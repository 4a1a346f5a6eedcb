"""Methods by name, and rivals of equal size."""

import copy

import pytest
import torch

from overparam.adapt import (
    METHODS,
    apply_method,
    matched_size,
    prepared_members,
    tuning_report,
)
from overparam.models import ResidualMLP, TinyConvNeXt, TinyViT, seeded

FAMILIES = {"mlp": ResidualMLP, "convnext": TinyConvNeXt, "vit": TinyViT}
SSF_PARAMETERS = {"mlp": 2304, "convnext": 2368, "vit": 3648}


@pytest.mark.parametrize("family", FAMILIES)
def test_counts_beside_the_head_are_those_of_the_layers(family):
    net = seeded(FAMILIES[family], 0)
    counts = {
        method: tuning_report(apply_method(copy.deepcopy(net), method)).tuned
        for method in METHODS
        if family == "vit" or not method.startswith("vpt")
    }
    width = net.head.in_features
    assert counts["ssf"] == SSF_PARAMETERS[family]
    assert counts["ssf-scale"] == counts["ssf-shift"] == counts["ssf"] // 2
    assert counts["ssf-final"] == 2 * width
    assert counts["linear"] == 0
    assert counts["full"] == sum(p.numel() for p in net.parameters()) - 10 * (width + 1)
    if family == "vit":
        assert (counts["vpt-shallow"], counts["vpt-deep"]) == (48, 4 * 48)


@pytest.mark.parametrize(
    ("family", "method"),
    [*((f, m) for f in FAMILIES for m in ("adapter", "lora")), ("vit", "vpt-deep")],
)
def test_the_matched_size_is_the_smallest_that_is_large_enough(family, method):
    net, wanted = FAMILIES[family](), SSF_PARAMETERS[family]
    size = matched_size(net, method, wanted)
    at, below = (
        tuning_report(apply_method(copy.deepcopy(net), method, size=n)).tuned
        for n in (size, size - 1 or 1)
    )
    assert at >= wanted and (size == 1 or below < wanted)
    assert not any("adapter" in name or "lora" in name for name, _ in net.named_parameters())


def test_members_are_prepared_as_copies_each_from_its_seed():
    nets = [seeded(TinyViT, seed) for seed in (0, 1)]
    before = [net.state_dict() | {} for net in nets]
    found = prepared_members(nets, "lora", (5, 6))
    size = matched_size(nets[0], "lora", SSF_PARAMETERS["vit"])
    for net, start, seed, member in zip(nets, before, (5, 6), found, strict=True):
        alone = apply_method(copy.deepcopy(net), "lora", size=size, seed=seed).state_dict()
        assert all(torch.equal(t, alone[name]) for name, t in member.state_dict().items())
        assert net.state_dict().keys() == start.keys()
        assert all(p.requires_grad for p in net.parameters())


def test_the_size_of_members_is_given_or_matched_to_a_rival():
    nets = [seeded(TinyViT, 0)]

    def count(method, **options):
        return tuning_report(prepared_members(nets, method, (0,), **options)[0]).tuned

    assert count("vpt-shallow", size=3) == 3 * 48
    assert count("adapter") >= SSF_PARAMETERS["vit"]
    assert SSF_PARAMETERS["vit"] // 2 <= count("adapter", rival="ssf-scale") < count("adapter")
    assert count("linear") == 0


def test_one_pair_before_a_linear_head_adds_nothing_that_the_head_could_not_do():
    net = apply_method(seeded(TinyViT, 0).double(), "ssf-final", seed=3)
    plain = seeded(TinyViT, 0).double()
    pair = net.norm.ssf
    with torch.no_grad():
        plain.head.bias.add_(plain.head.weight @ pair.shift)
        plain.head.weight.mul_(pair.scale)
    x = torch.randn(4, 1, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(net(x), plain(x), rtol=0, atol=1e-12)


def test_what_is_unknown_or_out_of_reach_is_refused():
    with pytest.raises(ValueError, match="method='sff'; allowed: full"):
        apply_method(ResidualMLP(), "sff")
    with pytest.raises(ValueError, match="method='sff'"):
        matched_size(ResidualMLP(), "sff", 10)
    with pytest.raises(ValueError, match="2 seeds for 1 models"):
        prepared_members([ResidualMLP()], "ssf", (0, 1))
    with pytest.raises(ValueError, match="0 seeds for 0 models"):
        prepared_members([], "ssf", ())
    with pytest.raises(ValueError, match=r"no patch_embed"):
        apply_method(ResidualMLP(), "vpt-deep")
    with pytest.raises(ValueError, match="at size 2"):
        matched_size(ResidualMLP(), "adapter", 10**6, largest=2)
