"""Accuracy on corrupted images, against a loop over members, kinds and levels."""

import pytest
import torch
from torch import nn

from overparam.datasets import CORRUPTIONS, corrupt, corrupted_members
from overparam.measure import corruption_accuracy
from overparam.models import seeded
from overparam.training import Ensemble

SEEDS = (4, 7)


def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


def samples():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 30, 1, 8, 8, generator=generator)
    return x, torch.randint(3, (2, 30), generator=generator)


def test_rows_are_those_of_a_plain_loop():
    x, y = samples()
    models = [seeded(net, seed) for seed in SEEDS]
    table = corruption_accuracy(Ensemble(models), corrupted_members(x, SEEDS), y, SEEDS)
    assert list(table) == ["corruption", "level", "seed", "test_acc"]
    rows = [
        (kind, level, seed,
         (model(torch.from_numpy(corrupt(images.numpy(), kind, level, seed=seed))).argmax(1)
          == labels).double().mean().item())
        for kind in CORRUPTIONS
        for level in (1, 2, 3)
        for seed, model, images, labels in zip(SEEDS, models, x, y, strict=True)
    ]  # fmt: skip
    found = list(table.itertuples(index=False, name=None))
    assert [row[:3] for row in found] == [row[:3] for row in rows]
    assert [row[3] for row in found] == pytest.approx([row[3] for row in rows], abs=1e-12)


def test_a_seed_for_each_member():
    y = samples()[1]
    with pytest.raises(ValueError, match="1 entries for 2 members"):
        corruption_accuracy(Ensemble([net(), net()]), {}, y, (0,))
