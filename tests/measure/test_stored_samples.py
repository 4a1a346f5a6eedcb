"""Samples on their way to another process."""

import pytest
import torch

from overparam.datasets import InMemory
from overparam.datasets.batches import parts_of
from overparam.measure.stored_samples import StoredSamples, store_samples

X = torch.randn(23, 4, generator=torch.Generator().manual_seed(0))
IDS = torch.arange(23)


@pytest.mark.parametrize("inputs", [X, (X, IDS), {"x": X[:, ::2], "ids": IDS}])
@pytest.mark.parametrize("rows", [5, 23, 100])
def test_samples_come_back_in_their_order_and_arrangement(inputs, rows, tmp_path):
    data = InMemory(inputs, IDS * 2)
    store_samples(data, tmp_path, rows=rows)
    back = StoredSamples(tmp_path)
    assert len(back) == 23
    for n in (1, 7, 23, 50):
        got, expected = back.take(n), data.take(n)
        assert type(got[0]) is type(expected[0]) and torch.equal(got[1], expected[1])
        assert list(got[0]) == list(expected[0]) if isinstance(got[0], dict) else True
        for one, other in zip(parts_of(got[0]), parts_of(expected[0]), strict=True):
            assert torch.equal(one, other)
    pairs = list(back.batches(3))
    assert max(len(y) for _, y in pairs) <= 3
    assert torch.equal(torch.cat([y for _, y in pairs]), IDS * 2)
    assert torch.equal(torch.cat([parts_of(x)[0] for x, _ in pairs]), parts_of(inputs)[0])


def test_no_shuffling(tmp_path):
    store_samples(InMemory(X, IDS), tmp_path)
    with pytest.raises(ValueError, match="allowed: size >= 1 and no seed"):
        next(StoredSamples(tmp_path).batches(3, seed=0))
