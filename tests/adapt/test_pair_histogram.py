"""Counts of learned scales and shifts, against a loop over all values."""

import pytest
import torch

from overparam.adapt import inject_ssf, pair_histogram, pairs
from overparam.models import ResidualMLP, seeded


def test_every_value_counts_once_in_its_bin():
    net = inject_ssf(seeded(ResidualMLP, 0), std=0.6)
    table = pair_histogram(net)
    for kind, low in (("scale", 0.0), ("shift", -1.0)):
        rows = table[table["kind"] == kind]
        assert rows["bin"].tolist() == pytest.approx([low + 0.05 * k for k in range(40)])
        values = [v for p in pairs(net).values() for v in getattr(p, kind).tolist()]
        counts = [0] * 40
        for value in values:
            counts[min(max(int((value - low) / 0.05), 0), 39)] += 1
        assert rows["count"].tolist() == counts
        assert min(counts[0], counts[-1]) > 0 and sum(counts) == 1152


def test_an_ablated_pair_has_one_kind():
    table = pair_histogram(inject_ssf(ResidualMLP(), learn="scale", init="identity"))
    assert set(table["kind"]) == {"scale"}
    assert table.loc[table["count"] > 0, ["bin", "count"]].to_numpy().tolist() == [[1.0, 1152]]


def test_beyond_the_range_is_the_last_bin():
    net = inject_ssf(ResidualMLP())
    with torch.no_grad():
        for pair in pairs(net).values():
            pair.scale.fill_(7.0)
            pair.shift.fill_(-7.0)
    found = pair_histogram(net).query("count > 0")
    assert found["bin"].tolist() == pytest.approx([1.95, -1.0])


def test_no_pairs():
    with pytest.raises(ValueError, match="no pairs"):
        pair_histogram(ResidualMLP())
