"""Runs of one recipe as tables, quantisation of what they trained, cart-pole and the toy."""

import numpy as np
import pytest
import torch
from torch import nn

from overparam.compress.subspace import (
    QuantisedVector,
    SubspaceModel,
    SubspacePolicies,
    he_normal,
    he_normal_members,
    quantise_full,
    quantise_runs,
    round_trip_error,
    search_policies,
    solve_group_sums,
    train_and_score,
    train_networks,
    train_subspaces,
)
from overparam.datasets import TrainTest, cartpole_starts, cartpole_vec
from overparam.models import MLP
from overparam.training import Ensemble, cem

MODEL = MLP((5, 8, 3))
SCHEDULE = {"epochs": 3, "batch_size": 16}


@pytest.fixture(scope="module")
def data() -> TrainTest:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(96, 5, generator=generator)
    y = x[:, :3].argmax(1)
    return TrainTest(x[:64], y[:64], x[64:], y[64:])


@pytest.fixture(scope="module")
def runs(data: TrainTest):
    return train_subspaces(MODEL, data, (4, 20), "dense", 0.1, seed=1, **SCHEDULE)


def test_rows_describe_the_models_that_v_gives(data: TrainTest, runs) -> None:
    for row in runs.itertuples():
        wrapped = SubspaceModel(MODEL, row.dim, "dense", seed=1, init_seed=1)
        wrapped.set_coordinates(torch.tensor(row.v))
        correct = wrapped(data.x_test).argmax(1) == data.y_test
        assert row.test_acc == pytest.approx(float(correct.double().mean()))
        assert row.D == wrapped.full_dim == 75
    assert runs["test_acc"].iloc[1] > 0.4


def test_an_ensemble_of_networks_learns(data: TrainTest) -> None:
    ensemble = Ensemble([MLP((5, 8, 3)) for _ in range(2)])
    rows = train_and_score(ensemble, data, 0.02, epochs=30, batch_size=16, order_seeds=(0, 1))
    assert (rows["train_acc"] > 0.8).all() and (rows["lr"] == 0.02).all()


def test_networks_start_anew_at_each_rate(data: TrainTest) -> None:
    nets = he_normal_members(MODEL, (5, 6))
    both = train_networks(nets, data, (0.3, 0.02), seeds=(5, 6), **SCHEDULE)
    assert both["lr"].tolist() == [0.3, 0.3, 0.02, 0.02] and both["seed"].tolist() == [5, 6, 5, 6]
    assert (both["D"] == 75).all()
    alone = train_networks(nets[1:], data, (0.02,), seeds=(6,), **SCHEDULE)
    columns = ["lr", "train_acc", "test_acc", "seed"]
    assert both[columns].iloc[[3]].reset_index(drop=True).equals(alone[columns])
    with pytest.raises(ValueError, match="at least one learning rate"):
        train_networks(nets, data, (), seeds=(5, 6), **SCHEDULE)
    with pytest.raises(ValueError, match="1 entries for 2 models"):
        train_networks(nets, data, (0.1,), seeds=(5,), **SCHEDULE)


def test_members_are_drawn_each_from_its_seed_and_the_model_stays() -> None:
    before = [p.detach().clone() for p in MODEL.parameters()]
    members = he_normal_members(MODEL, (5, 6))
    for seed, member in zip((5, 6), members, strict=True):
        alone = he_normal(MLP((5, 8, 3)), seed)
        drawn = zip(member.parameters(), alone.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in drawn)
    assert all(torch.equal(a, b) for a, b in zip(before, MODEL.parameters(), strict=True))
    assert not torch.equal(next(members[0].parameters()), next(members[1].parameters()))


def test_quantised_scores_sizes_and_codes(data: TrainTest, runs) -> None:
    table = quantise_runs(MODEL, data, runs, (8, 2), seed=1)
    assert table["bits"].tolist() == [32, 8, 2, 32, 8, 2]
    exact = table[table["bits"] == 32]
    assert exact["test_acc"].tolist() == pytest.approx(runs["test_acc"].tolist())
    assert exact["size_bytes"].tolist() == [(32 * d + 64) // 8 for d in (4, 20)]
    wrapped = SubspaceModel(MODEL, 20, "dense", seed=1, init_seed=1)
    wrapped.set_coordinates(QuantisedVector.of(torch.tensor(runs["v"].iloc[1]), 2).dequantise())
    two = table.iloc[5]
    assert two["ratio"] == 32 * 75 / (20 * 2 + 64)
    assert two["size_bytes"] == wrapped.state_size_bytes(2)
    loss = nn.functional.cross_entropy(wrapped(data.x), data.y, reduction="sum")
    assert two["mdl_bits"] == pytest.approx(64 + 40 + loss.item() / np.log(2), rel=1e-4)


def test_full_networks_lose_by_coarse_rounding(data: TrainTest) -> None:
    table = quantise_full([MODEL, MODEL], data, (16, 2), seeds=(4, 9))
    exact = float((MODEL(data.x_test).argmax(1) == data.y_test).double().mean())
    assert table["test_acc"].iloc[:2].tolist() == pytest.approx([exact, exact], abs=0.04)
    assert table["ratio"].iloc[0] == 32 * 75 / (16 * 75 + 64)
    assert table["seed"].tolist() == [4, 9, 4, 9] and table["bits"].tolist() == [16, 16, 2, 2]


def test_saving_and_loading_changes_no_logit(data: TrainTest, runs) -> None:
    assert round_trip_error(MODEL, runs.iloc[1], data.x_test, seed=1) == 0.0


def test_returns_are_those_of_the_policies_one_by_one() -> None:
    net = MLP((4, 6, 1), "tanh")
    policies = SubspacePolicies(net, 3, "dense", seeds=(0, 7))
    candidates = np.random.Generator(np.random.Philox(key=0)).normal(0, 10, (2, 4, 3))
    found = policies.returns(candidates, episodes=3, draw=5)
    for r, seed in enumerate((0, 7)):
        model = SubspaceModel(net, 3, "dense", seed=seed, init_seed=seed)
        for k in range(4):
            model.set_coordinates(torch.from_numpy(candidates[r, k]).float())
            plain = model.materialise()

            def act(state: np.ndarray, plain: nn.Module = plain) -> np.ndarray:
                with torch.no_grad():
                    return (plain(torch.from_numpy(state).float())[..., 0] > 0).numpy()

            starts = cartpole_starts(3, seed * 1_000_000 + 5)
            assert found[r, k] == cartpole_vec(act, starts).mean()
    assert found.min() < found.max()
    with pytest.raises(ValueError, match="at least one seed"):
        SubspacePolicies(net, 3, "dense", seeds=())


def test_a_search_for_policies_reports_fresh_episodes_of_its_answer() -> None:
    net = MLP((4, 6, 1), "tanh")
    table = search_policies(
        net, 2, seeds=(0, 7), population=12, generations=3, episodes=2, trials=5
    )
    policies = SubspacePolicies(net, 2, "dense", seeds=(0, 7))
    found = cem(
        lambda x, draw: policies.returns(x, episodes=2, draw=draw),
        2, seeds=(0, 7), population=12, generations=3,
    )  # fmt: skip
    fresh = policies.returns(found.mean[:, None], episodes=5, draw=3)
    assert table["reward"].tolist() == fresh[:, 0].tolist()
    assert table["seed"].tolist() == [0, 7] and (table["D"] == policies.full_dim).all()


@pytest.mark.parametrize("dim", [2, 3, 5])
def test_toy_reaches_its_closed_form(dim: int) -> None:
    reached, least = solve_group_sums(dim, seed=3, size=30, groups=3)
    assert reached == pytest.approx(least, rel=1e-9, abs=1e-12)
    assert (least < 1e-20) == (dim >= 3)
