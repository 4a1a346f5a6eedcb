import pandas as pd
import pytest
import torch
from torch import nn

from overparam.compress import share_members, train_beside_dense
from overparam.models import MLP, seeded
from overparam.training import Ensemble

SEEDS = (3, 4)


class Trainer:
    """Scores a network by its first weight, to tell which one was trained."""

    def __init__(self):
        self.calls = []

    def __call__(self, models):
        self.calls.append(models)
        scores = [float(model(torch.ones(1, 8)).detach().sum()) for model in models]
        runs = pd.DataFrame({"seed": SEEDS, "test_acc": scores, "train_loss": len(self.calls)})
        return Ensemble(models), runs


@pytest.mark.parametrize("method", ["rps_stable", "hashed"])
def test_the_dense_nets_start_from_the_virtual_weights(method):
    nets = [seeded(lambda: MLP((8, 6, 3)), seed) for seed in SEEDS]
    shared, train = share_members(method, nets, 1, seeds=SEEDS), Trainer()
    runs = train_beside_dense(shared, train)
    first, second = train.calls
    assert list(first) == shared
    for model, plain in zip(shared, second, strict=True):
        virtual = model.virtual_weights()
        assert all(torch.equal(plain.get_parameter(name), w) for name, w in virtual.items())
    assert runs["test_acc"].tolist() == pytest.approx(runs["dense_acc"].tolist())
    assert (runs["train_loss"] == 1).all()
    for row, model in zip(runs.itertuples(), shared, strict=True):
        buckets = torch.cat([model.bucket_index(i) for i in range(2)]).tolist()
        loads = [buckets.count(bucket) for bucket in range(66)]
        assert row.max_load == max(loads) and row.empty_fraction == loads.count(0) / 66
    assert (runs["max_load"] == 1).all() == (method == "rps_stable")


def test_only_shared_models_are_taken():
    train = Trainer()
    with pytest.raises(TypeError, match="Linear"):
        train_beside_dense([nn.Linear(8, 2)], train)
    assert not train.calls
