"""Masks of equal fractions per layer, with an exact sum."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from overparam.compress import layer_mask


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.data())
def test_counts_are_exact_and_proportional(sizes, data):
    n = sum(sizes)
    count = data.draw(st.integers(len(sizes), n))
    generator = torch.Generator().manual_seed(n)
    scores = {str(i): torch.rand(size, generator=generator) for i, size in enumerate(sizes)}
    masks = layer_mask(scores, count=count)
    kept = {name: int(mask.sum()) for name, mask in masks.items()}
    assert sum(kept.values()) == count and min(kept.values()) >= 1
    if all(count * size >= n for size in sizes):
        assert all(abs(kept[str(i)] - count * size / n) < 1 for i, size in enumerate(sizes))
    for name, mask in masks.items():
        if not mask.all():
            assert scores[name][mask].min() >= scores[name][~mask].max()


@pytest.mark.parametrize("count", [1, 8])
def test_counts_out_of_range_are_refused(count):
    with pytest.raises(ValueError, match=r"allowed 2 \(one of each tensor\)\.\.7"):
        layer_mask({"a": torch.ones(3), "b": torch.ones(4)}, count=count)
