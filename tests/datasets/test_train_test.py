import numpy as np
import pytest
import torch

from overparam.datasets import Split, TrainTest, split_tables
from overparam.store import Tables

SPLITS = {
    seed: Split(
        np.full((4, 1, 2, 3), seed, dtype=np.float64), np.array([0, 1, 4, 2]),
        np.full((2, 1, 2, 3), -seed, dtype=np.float64), np.array([3, 3]),
    )
    for seed in (5, 8)
}  # fmt: skip


def test_one_seed_has_no_axis_of_members_and_several_have_one() -> None:
    tables = Tables.of(split_tables(SPLITS))
    one, two = TrainTest.of(tables, 8), TrainTest.of(tables, 8, 5)
    assert one.x.shape == (4, 1, 2, 3) and two.x.shape == (2, 4, 1, 2, 3)
    assert one.x_test.shape == (2, 1, 2, 3) and two.y_test.shape == (2, 2)
    assert all(torch.equal(a, b[0]) for a, b in zip(one, two, strict=True))
    assert (two.x[1] == 5).all() and (two.x_test[1] == -5).all()
    assert one.x.dtype == torch.float32 and one.y.dtype == torch.int64
    for data in (one, two):
        assert data.input_shape == (1, 2, 3) and data.classes == 5


def test_seeds_that_are_not_there() -> None:
    tables = Tables.of(split_tables(SPLITS))
    with pytest.raises(ValueError, match="at least one seed"):
        TrainTest.of(tables)
    with pytest.raises(ValueError, match=r"\{5: 4, 6: 0\}"):
        TrainTest.of(tables, 5, 6)
