"""What the comparison of a merged model with the original finds."""

import pytest
import torch
from torch import nn

from overparam.adapt import inject_ssf
from overparam.adapt.merge_parity import merge_parity
from overparam.models import ResidualMLP, TinyConvNeXt, TinyViT, seeded

PAIRS = {ResidualMLP: 2304, TinyConvNeXt: 2368, TinyViT: 3648}


@pytest.mark.parametrize("factory", PAIRS)
def test_merged_is_the_original_and_unmerged_is_not(factory):
    tuned = inject_ssf(seeded(factory, 0), std=0.5).eval()
    x = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    table = merge_parity(seeded(factory, 0).eval(), tuned, x, timed=2).set_index("form")
    merged, unmerged = table.loc["merged"], table.loc["unmerged"]
    assert merged["other_modules"] == 0 and merged["created"] == 0
    assert merged["params_after"] == merged["params_before"]
    assert 0 < merged["max_abs_diff"] < 1e-4 and merged["max_abs_diff_float64"] < 1e-11
    assert unmerged["params_after"] - unmerged["params_before"] == PAIRS[factory]
    assert unmerged["created"] == 0 and unmerged["max_abs_diff"] == 0
    assert unmerged["other_modules"] == sum(".ssf" in name for name, _ in tuned.named_modules())
    assert (table[["ms_before", "ms_after", "latency_ratio"]] > 0).all(axis=None)


def test_created_biases_are_counted():
    def make():
        return nn.Sequential(nn.Linear(4, 6, bias=False), nn.LayerNorm(6), nn.Linear(6, 3))

    table = merge_parity(seeded(make, 0), inject_ssf(seeded(make, 0)), torch.randn(5, 4), timed=1)
    merged = table.set_index("form").loc["merged"]
    assert merged["created"] == 6
    assert merged["params_after"] == merged["params_before"] + 6


def test_without_pairs_there_is_nothing_to_compare():
    with pytest.raises(ValueError, match="no pairs"):
        merge_parity(ResidualMLP(), ResidualMLP(), torch.zeros(2, 64))
