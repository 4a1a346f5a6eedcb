"""Parameter counts by part."""

import pytest
import torch
from torch import nn

from overparam.measure import param_report


class Tuned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(3, 4).requires_grad_(False)
        self.body.add_module("extra", nn.Linear(4, 1, bias=False))
        self.tied = nn.Linear(3, 4, bias=False)
        self.tied.weight = self.body.weight
        self.head = nn.Linear(4, 2).to(torch.float64)


def test_counts_and_share():
    report = param_report(Tuned(), head="head", added=("extra",))
    assert (report.backbone, report.added, report.head) == (16, 4, 10)
    assert (report.total, report.trainable, report.tuned) == (30, 14, 4)
    assert report.share == 4 / 16
    assert report.bytes == 20 * 4 + 10 * 8
    assert report.table["parameters"].sum() == 30
    assert set(report.table["part"]) == {"backbone", "added", "head"}


def test_without_parts_everything_is_backbone():
    report = param_report(Tuned())
    assert report.backbone == report.total == 30
    assert param_report(nn.ReLU()).total == 0
    assert param_report(nn.ReLU()).share != param_report(nn.ReLU()).share


def test_meta_device_and_unknown_head():
    with torch.device("meta"):
        model = Tuned()
    assert param_report(model).total == 30
    with pytest.raises(ValueError, match="'top'"):
        param_report(model, head="top")
