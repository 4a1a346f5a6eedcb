"""Batches in memory and from a table: every row once, an order that the seed alone decides."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overparam.datasets import InMemory, streamed
from overparam.datasets.streamed import Streamed
from overparam.store import Tables, tensor_column


def numbered(n):
    """Row i is i in every input and in the target; a float, an integer and a boolean tensor."""
    rows = torch.arange(n)
    return {
        "tensor": rows.double().view(n, 1, 1).expand(n, 2, 3),
        "tuple": (rows.float(), rows.view(n, 1).expand(n, 4)),
        "dict": {"ids": rows.view(n, 1), "mask": rows % 2 == 0},
    }


def first_of(inputs):
    part = next(iter(inputs.values())) if isinstance(inputs, dict) else inputs
    part = part[0] if isinstance(part, tuple) else part
    return part.reshape(len(part), -1)[:, 0]


@pytest.mark.parametrize("arrangement", ["tensor", "tuple", "dict"])
@given(n=st.integers(1, 40), size=st.integers(1, 50), seed=st.integers(0, 2**63))
@settings(max_examples=40, deadline=None)
def test_an_epoch_is_a_permutation(arrangement, n, size, seed):
    data = InMemory(numbered(n)[arrangement], torch.arange(n))
    pairs = list(data.batches(size, seed=seed))
    assert [len(y) for _, y in pairs] == [size] * (n // size) + [n % size] * (n % size > 0)
    order = torch.cat([y for _, y in pairs])
    assert order.sort().values.tolist() == list(range(n))
    assert torch.equal(torch.cat([first_of(x) for x, _ in pairs]).long(), order)
    again = torch.cat([y for _, y in data.batches(size, seed=seed)])
    assert torch.equal(order, again)
    assert torch.equal(torch.cat([y for _, y in data.batches(size)]), torch.arange(n))


def test_arrangement_and_types_are_kept():
    for kind, inputs in numbered(10).items():
        (x, _), *_ = InMemory(inputs, torch.arange(10)).batches(4, seed=1)
        assert type(x).__name__.lower() == kind
    assert x["ids"].dtype == torch.int64 and x["mask"].dtype == torch.bool
    taken, y = InMemory(inputs, torch.arange(10)).take(3)
    assert taken["ids"][:, 0].tolist() == y.tolist() == [0, 1, 2]
    assert len(InMemory(inputs, torch.arange(10)).take(99)[1]) == 10


def test_seeds_give_other_orders():
    data = InMemory(torch.zeros(50), torch.arange(50))
    orders = {tuple(next(data.batches(50, seed=seed))[1].tolist()) for seed in range(20)}
    assert len(orders) == 20


@pytest.mark.parametrize(
    ("inputs", "targets"),
    [
        (torch.zeros(3), torch.zeros(4)),
        ((torch.zeros(3), torch.zeros(2)), torch.zeros(3)),
        (torch.zeros(0, 2), torch.zeros(0)),
    ],
)
def test_lengths_that_differ_or_nothing(inputs, targets):
    with pytest.raises(ValueError, match="allowed: one number, not 0"):
        InMemory(inputs, targets)


def table(n, pieces):
    """A stored table of record batches of unequal length."""
    x = np.arange(2.0 * n).reshape(n, 2)
    edges = [0, *sorted(np.random.default_rng(n).integers(0, n, pieces)), n]
    return Tables.of(
        {
            "train": (
                pa.RecordBatch.from_arrays(
                    [tensor_column(x[start:stop]), pa.array(np.arange(start, stop))],
                    names=["x", "y"],
                )
                for start, stop in itertools.pairwise(edges)
                if stop > start
            )
        }
    )


def arrange(rows):
    assert rows.num_rows <= 64, "more than a window is in memory"
    x = rows.column("x").combine_chunks().to_numpy_ndarray()
    return torch.from_numpy(x.copy()), torch.from_numpy(rows.column("y").to_numpy().copy())


@given(n=st.integers(1, 300), size=st.integers(1, 64), seed=st.integers(0, 2**63))
@settings(max_examples=40, deadline=None)
def test_a_streamed_epoch_is_a_permutation_in_windows(n, size, seed):
    data = Streamed(table(n, 5), "train", arrange, n, streamed.WINDOW_BYTES // 64)
    held = InMemory(torch.arange(2.0 * n).double().view(n, 2), torch.arange(n))
    for (a, b), (x, y) in zip(held.batches(size), data.batches(size), strict=True):
        assert torch.equal(a, x) and torch.equal(b, y)
    pairs = list(data.batches(size, seed=seed))
    assert [len(y) for _, y in pairs] == [len(y) for _, y in held.batches(size)]
    order = torch.cat([y for _, y in pairs])
    assert order.sort().values.tolist() == list(range(n))
    assert torch.equal(torch.cat([x for x, _ in pairs])[:, 0], 2.0 * order.double())
    assert torch.equal(order, torch.cat([y for _, y in data.batches(size, seed=seed)]))
    assert torch.equal(data.take(7)[1], torch.arange(min(7, n)))


@pytest.mark.parametrize("streamed_too", [False, True])
def test_sizes_below_one(streamed_too):
    data = InMemory(torch.zeros(3), torch.arange(3))
    if streamed_too:
        data = Streamed(table(3, 0), "train", arrange, 3, 8)
    with pytest.raises(ValueError, match="size is 0; allowed >= 1"):
        next(data.batches(0))
