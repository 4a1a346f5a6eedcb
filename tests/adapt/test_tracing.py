"""Insertion rules read off the data flow of unknown architectures."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from overparam.adapt import inject_ssf, insertion_points, merge_ssf, traced_rule
from overparam.models import ResidualMLP, TinyConvNeXt, TinyMixer, TinyViT


class Unknown(nn.Module):
    """Two heads with unusual names, a tied read, a function with weights, an unused layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.wide = nn.Linear(4, 6)
        self.tied = nn.Linear(6, 6)
        self.class_scores = nn.Linear(6, 3)
        self.box = nn.Linear(6, 4)
        self.unused = nn.Linear(2, 2)
        self.loose = nn.Parameter(torch.eye(6))

    def forward(self, x):
        x = torch.relu(self.bn(self.first(x))).mean((2, 3))
        x = torch.relu(self.wide(x.to(self.wide.weight.dtype)))
        x = F.linear(self.tied(x), self.loose) + x @ self.tied.weight
        return self.class_scores(x), torch.tanh(self.box(x))


def test_rule_for_an_unknown_architecture():
    rule = traced_rule(Unknown())
    assert rule.targets == ("first", "bn", "wide")
    assert set(rule.heads) == {"class_scores", "box"}
    assert rule.skipped["tied"] == "its weight is read outside its call"
    assert rule.skipped["unused"].startswith("never called")
    assert any("function" in reason for reason in rule.skipped.values())


def test_injecting_and_merging_by_a_traced_rule():
    model = Unknown().eval()
    rule = traced_rule(model)
    inject_ssf(model, rule, head=rule.heads, std=0.3)
    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"first", "bn", "wide", "class_scores", "box"}
    x = torch.randn(2, 1, 8, 8)
    for merged, adapted in zip(merge_ssf(model)(x), model(x), strict=True):
        torch.testing.assert_close(merged, adapted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("factory", [TinyViT, TinyConvNeXt, ResidualMLP, TinyMixer])
def test_tracing_agrees_with_the_rule_by_type(factory):
    model = factory()
    rule = traced_rule(model)
    assert rule.heads == ("head",)
    assert set(rule.targets) == set(insertion_points(model))


def test_a_final_norm_is_no_head():
    rule = traced_rule(nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)))
    assert (rule.targets, rule.heads) == (("0", "1"), ())


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x):
        return self.linear(x) if x.sum() > 0 else x


def test_untraceable_and_empty_models_are_refused():
    with pytest.raises(ValueError, match="cannot be traced"):
        traced_rule(Branching())
    with pytest.raises(ValueError, match="no operation"):
        traced_rule(nn.Sequential(nn.ReLU(), nn.Linear(3, 2)))
