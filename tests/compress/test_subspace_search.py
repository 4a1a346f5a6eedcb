"""The search for the smallest subspace: its grid, its bisection, what it trains and refuses."""

import pandas as pd
import pytest
import torch
from torch import nn

from overparam.compress.subspace import SubspaceSearch, affordable_projection, train_subspaces
from overparam.datasets import TrainTest
from overparam.measure import intrinsic_dimension_of_runs
from overparam.models import MLP

MODEL = MLP((5, 8, 3))
SEEDS = (0, 4)


@pytest.fixture(scope="module")
def data() -> dict[int, TrainTest]:
    found = {}
    for seed in SEEDS:
        x = torch.randn(96, 5, generator=torch.Generator().manual_seed(seed))
        y = x[:, :3].argmax(1)
        found[seed] = TrainTest(x[:64], y[:64], x[64:], y[64:])
    return found


def grid(search: SubspaceSearch, data: dict[int, TrainTest], dims: tuple[int, ...]) -> pd.DataFrame:
    tables = [search.grid(data[s], dims, seed=s).assign(seed=s) for s in SEEDS]
    return pd.concat(tables, ignore_index=True)


def test_a_grid_holds_the_trainings_of_every_rate(data) -> None:
    search = SubspaceSearch(MODEL, "dense", (0.1, 0.3), epochs=2, batch_size=16)
    runs = search.grid(data[4], (3, 20), seed=4)
    assert list(zip(runs["lr"], runs["dim"], strict=True)) == [
        (0.1, 3), (0.1, 20), (0.3, 3), (0.3, 20),
    ]  # fmt: skip
    alone = train_subspaces(MODEL, data[4], (3, 20), "dense", 0.3, epochs=2, batch_size=16, seed=4)
    for a, b in zip(runs["v"].iloc[2:], alone["v"], strict=True):
        assert (a == b).all()


def test_refining_ends_at_neighbours_of_the_threshold_and_keeps_the_grid(data) -> None:
    search = SubspaceSearch(MODEL, "coordinates", (0.1, 0.3), epochs=12, batch_size=16)
    runs = grid(search, data, (1, 60))
    baseline = pd.Series(0.9, index=SEEDS)
    found = search.refine(runs, data, "test_acc", baseline, ratio=0.7, resolution=0.3)
    assert found.iloc[: len(runs)].equals(runs)
    assert found.groupby("dim").size().eq(2 * 2).all() and len(found) > len(runs)
    result, _ = intrinsic_dimension_of_runs(found, "test_acc", baseline, ratio=0.7)
    assert 1 < result.d_int <= 1.3 * result.lower_bound


def test_more_dims_are_tried_up_to_the_first_that_suffices(data) -> None:
    search = SubspaceSearch(MODEL, "coordinates", (0.3,), epochs=12, batch_size=16)
    runs = grid(search, data, (1, 2))
    low = pd.Series(0.6, index=SEEDS)
    found = search.refine(runs, data, "train_acc", low, more_dims=(60, 70), resolution=100)
    assert set(found["dim"]) == {1, 2, 60}
    unreachable = pd.Series(2.0, index=SEEDS)
    found = search.refine(runs, data, "train_acc", unreachable, more_dims=(60, 70), resolution=100)
    assert set(found["dim"]) == {1, 2, 60, 70}


def test_bad_input(data) -> None:
    search = SubspaceSearch(MODEL, "dense", (0.1,), epochs=1, batch_size=16)
    runs = grid(search, data, (3,))
    with pytest.raises(ValueError, match=r"above chance = 0\.333"):
        search.refine(runs, data, "test_acc", pd.Series(0.3, index=SEEDS))
    with pytest.raises(ValueError, match="at least one learning rate"):
        SubspaceSearch(MODEL, "dense", (), epochs=1, batch_size=16).grid(data[0], (3,), seed=0)
    with pytest.raises(ValueError, match=r"\[1, 75\]"):
        search.grid(data[0], (76,), seed=0)


def test_dense_below_the_limit_fastfood_from_it_on() -> None:
    layer = nn.Linear(9, 10)
    assert affordable_projection(layer, 101) == "dense"
    assert affordable_projection(layer, 100) == "fastfood"
