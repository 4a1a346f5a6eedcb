from math import comb, log2

import numpy as np
import pandas as pd
import pytest
import torch

from overparam.compress import (
    PRUNING,
    SHARING,
    apply_masks,
    compressible_weights,
    masks_of,
    method_bits,
    smaller_width,
    train_at_equal_memory,
)
from overparam.models import MLP, seeded
from overparam.training import Ensemble

SEEDS = (3, 4)
N = 64 * 12 + 12 * 12 + 12 * 10
DENSE = pd.DataFrame(
    {"seed": SEEDS, "test_acc": [0.5, 0.75], "train_loss": [1.5, 1.25], "diverged": [False, True]}
)


def make(width=12):
    return MLP((64, width, width, 10))


class Trainer:
    """Trains nothing, and keeps what it was given."""

    def __init__(self, change=lambda model: model):
        self.calls, self.change = [], change

    def __call__(self, models):
        self.calls.append(models)
        rows = {"seed": SEEDS, "test_acc": 0.1 * len(self.calls), "train_loss": 0.0}
        return Ensemble([self.change(m) for m in models]), pd.DataFrame(rows).assign(diverged=False)


def run(method, compression, train, **changes):
    generator = torch.Generator().manual_seed(0)
    options = {
        "dense": DENSE,
        "x": torch.randn(2, 20, 64, generator=generator),
        "y": torch.randint(10, (2, 20), generator=generator),
        "seeds": SEEDS,
        "narrower": make,
        "rounds": 3,
    }
    start = [seeded(make, seed) for seed in SEEDS]
    return train_at_equal_memory(method, start, compression, train, **{**options, **changes})


@pytest.mark.parametrize("method", [*PRUNING, "small", "ltr"])
def test_what_cuts_nothing_is_the_dense_net(method):
    train = Trainer()
    found = run(method, 1, train)
    assert not train.calls
    pd.testing.assert_frame_equal(found.runs, DENSE)
    assert (found.weights, found.memory, found.dead_layers) == (N, N, [0, 0])


@pytest.mark.parametrize("method", SHARING)
@pytest.mark.parametrize("compression", [1, 7])
def test_sharing_is_trained_even_without_compression(method, compression):
    train = Trainer()
    found = run(method, compression, train)
    ((first, second),) = train.calls
    assert first.shared.numel() == second.shared.numel() == N // compression == found.memory
    assert found.runs["test_acc"].tolist() == [0.1, 0.1] and found.dead_layers == [0, 0]


@pytest.mark.parametrize("method", PRUNING)
@pytest.mark.parametrize("compression", [7, N])
def test_pruning_keeps_exactly_m_and_counts_dead_layers(method, compression):
    train = Trainer()
    found = run(method, compression, train)
    (models,) = train.calls
    for model, dead in zip(models, found.dead_layers, strict=True):
        kept = [int(mask.sum()) for mask in masks_of(model).values()]
        assert sum(kept) == N // compression == found.memory
        assert dead == kept.count(0)
    assert found.dead_layers == [2, 2] or compression == 7


def test_the_smaller_net_is_the_widest_that_fits():
    train = Trainer()
    found = run("small", 4, train)
    width = smaller_width(make, N // 4)
    for net, seed in zip(train.calls[0], SEEDS, strict=True):
        expected = seeded(lambda: make(width), seed).state_dict()
        assert all(torch.equal(tensor, expected[n]) for n, tensor in net.state_dict().items())
    assert (found.weights, found.memory) == (N, N // 4)


def test_no_net_is_narrower_than_one_unit():
    assert sum(slot.size for slot in compressible_weights(make(1))) == 75
    fits, train = Trainer(), Trainer()
    run("small", N / 75, fits)
    found = run("small", N / 74.5, train)
    assert len(fits.calls) == 1 and not train.calls
    assert found.memory == 74 and found.runs["seed"].tolist() == list(SEEDS)
    assert np.isnan(found.runs[["test_acc", "train_loss"]]).all(axis=None)
    assert not found.runs["diverged"].any()
    assert found.runs.dtypes.tolist() == DENSE.dtypes.tolist()


def test_tickets_keep_the_largest_trained_weights_and_rewind():
    """One round is: train, keep the m largest of all weights, rewind, train."""

    def doubled(model):
        model = apply_masks(model, {})
        with torch.no_grad():
            model.layers[2].weight.mul_(2)
        return model

    train = Trainer(doubled)
    found = run("ltr", 7, train, rounds=1)
    assert len(train.calls) == 2
    assert found.runs["test_acc"].tolist() == [0.2, 0.2]
    start = [seeded(make, seed) for seed in SEEDS]
    for net, ticket in zip(start, train.calls[1], strict=True):
        scores = {
            slot.name: net.get_parameter(slot.name).detach().abs() * (1 + ("2" in slot.name))
            for slot in compressible_weights(net)
        }
        threshold = torch.cat([s.flatten() for s in scores.values()]).sort(descending=True).values
        masks = masks_of(ticket)
        for name, score in scores.items():
            assert torch.equal(masks[name], score >= threshold[found.memory - 1])
            layer = ticket.get_submodule(name.removesuffix(".weight"))
            expected = net.get_parameter(name) * masks[name]
            assert torch.equal(layer.weight, expected)


def test_tickets_are_trained_once_more_than_there_are_rounds():
    train = Trainer()
    found = run("ltr", N, train, rounds=3)
    assert len(train.calls) == 4 and found.runs["test_acc"].tolist() == [0.4, 0.4]
    assert found.dead_layers == [2, 2]


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("prune", {}, r"'prune'; allowed rps_stable"),
        ("mag", {"seeds": (3,)}, "start has 2 members, seeds 1"),
        ("mag", {"dense": DENSE[:1]}, "dense 1 rows"),
        ("mag", {"compression": 0.5}, r"compression is 0\.5"),
        ("mag", {"compression": 2 * N}, "m = 0"),
        ("ltr", {"rounds": 0}, "rounds is 0"),
    ],
)
def test_bad_input_comes_before_any_training(method, changes, message):
    train = Trainer()
    with pytest.raises(ValueError, match=message):
        run(method, changes.pop("compression", 7), train, **changes)
    assert not train.calls


def test_bits_of_sparse_and_of_dense_numbers():
    for method in (*PRUNING, "ltr"):
        assert method_bits(method, 100, 3) == pytest.approx(96 + log2(comb(100, 3)))
        assert method_bits(method, 100, 100) == 3200
    for method in (*SHARING, "small"):
        assert method_bits(method, 100, 3) == 96
