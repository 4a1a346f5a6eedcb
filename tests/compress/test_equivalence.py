"""Pruned here and pruned with torch.nn.utils.prune by hand: the same accuracy, within a point."""

from copy import deepcopy

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils import prune

from overparam.compress import compressible_weights, kept_weights
from overparam.compress.composition import composition
from overparam.datasets import own_samples, read_batches
from overparam.datasets.sample_files import sample_file
from overparam.evidence import paired_difference
from overparam.models import seeded
from overparam.models.sample_nets import digits_net
from overparam.store import Tables
from overparam.training import Recipe, Task, train_model
from overparam.training.own_task import score_of

SEEDS, RATIO = 6, 4.0
RECIPE = Recipe(8, 2e-3, "adamw", 1e-4, 128)


def tuned_by_hand(model, data, seed):
    """A plain loop over a model that torch.nn.utils.prune has masked."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, RECIPE.epochs)
    generator = torch.Generator().manual_seed(1000 + seed)
    model.train()
    for _ in range(RECIPE.epochs):
        for rows in torch.randperm(len(data), generator=generator).split(128):
            optimizer.zero_grad()
            cross_entropy(model(data.inputs[rows]), data.targets[rows]).backward()
            optimizer.step()
        schedule.step()
    return model.eval()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_accuracies_are_equivalent_within_a_point():
    tables = Tables.of(own_samples(sample_file("digits")).tables())
    train, test = read_batches(tables, "train"), read_batches(tables, "test")
    task = Task("classification", tuple("0123456789"))
    ours, theirs = [], []
    for seed in range(SEEDS):
        dense = seeded(digits_net, seed)
        train_model(dense, train, task, Recipe(20, 2e-3, "adamw", 1e-4, 128), seed=seed)
        small = composition("magnitude")(
            dense, ratio=RATIO, bits=None, data=train, validation=None, task=task, recipe=RECIPE,
            anew=RECIPE, initial=dense, seed=seed,
        )  # fmt: skip
        ours.append(score_of(small, test, task))
        by_hand = deepcopy(dense)
        slots = compressible_weights(by_hand)
        places = [(by_hand.get_submodule(slot.layers[0]), "weight") for slot in slots]
        cut = sum(slot.size for slot in slots) - kept_weights(by_hand, RATIO)
        prune.global_unstructured(places, prune.L1Unstructured, amount=cut)
        theirs.append(score_of(tuned_by_hand(by_hand, train, seed), test, task))
    found = paired_difference(ours, theirs, region=(-0.01, 0.01))
    assert found.inside, (ours, theirs, found)
