"""Samples of several seeds, into a table and out of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from overparam.datasets import (
    Labelled,
    Split,
    member_samples,
    parts_tables,
    samples_table,
    split_tables,
)
from overparam.store import Tables


def drawn(seed, n):
    generator = np.random.Generator(np.random.Philox(key=seed))
    return Labelled(generator.random((n, 2, 3)), generator.integers(0, 4, n))


PARTS = {
    s: {"train": drawn(s, 5), "val": drawn(10 + s, 2), "test": drawn(20 + s, 3)} for s in (3, 1)
}
TABLES = Tables.of({"samples": samples_table(PARTS)})


@pytest.mark.parametrize("part", ["train", "val", "test"])
@pytest.mark.parametrize("seeds", [(3, 1), (1, 3), (1,)])
def test_parts_come_back_stacked_in_the_order_of_the_seeds(part, seeds):
    x, y = member_samples(TABLES, seeds, part)
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    for i, seed in enumerate(seeds):
        assert np.array_equal(x[i].numpy(), PARTS[seed][part].x.astype(np.float32))
        assert np.array_equal(y[i].numpy(), PARTS[seed][part].y)


def test_a_split_is_two_parts_and_its_source():
    train, test = drawn(0, 4), drawn(1, 3)
    split = Split(train.x, train.y, test.x, test.y, {"source": "drawn"})
    tables = split_tables({6: split})
    both = samples_table({6: {"train": train, "test": test}})
    assert tables["samples"].equals(both)
    assert tables["sources"].to_dict("records") == [
        {"seed": 6, "field": "source", "value": "drawn"}
    ]


def test_parts_and_the_source_of_each_seed():
    named = {s: {n: replace(p, meta={"drawn": s}) for n, p in PARTS[s].items()} for s in PARTS}
    tables = parts_tables(named)
    assert tables["samples"].equals(samples_table(PARTS))
    assert tables["sources"].to_numpy().tolist() == [[3, "drawn", "3"], [1, "drawn", "1"]]
    nameless = parts_tables(PARTS)["sources"]
    assert nameless.empty and (nameless.dtypes == tables["sources"].dtypes).all()


def test_seeds_of_unlike_sizes_are_refused():
    tables = Tables.of(
        {"samples": samples_table({0: {"train": drawn(0, 4)}, 1: {"train": drawn(1, 5)}})}
    )
    with pytest.raises(ValueError, match=r"\{0: 4, 1: 5\}"):
        member_samples(tables, (0, 1), "train")
    with pytest.raises(ValueError, match="'test'"):
        member_samples(tables, (0,), "test")


def test_nothing_is_no_table():
    with pytest.raises(ValueError, match="at least one seed"):
        samples_table({})
