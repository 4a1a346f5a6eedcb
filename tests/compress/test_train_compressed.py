from copy import deepcopy

import pytest
import torch
from torch.nn.functional import cross_entropy

from overparam.compress import (
    apply_masks,
    attach_gradient_scaling,
    global_mask,
    materialise,
    score_mag,
    share_members,
    train_compressed,
)
from overparam.models import MLP, seeded
from overparam.training import batch_orders

SEEDS = (3, 4)
RECIPE = {
    "epochs": 5, "batch_size": 7, "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 1e-2,
    "drops": (0.6,),
}  # fmt: skip


def samples(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, n, 6, dtype=torch.float64, generator=generator)
    return x, torch.randint(3, (2, n), generator=generator)


def dense():
    return [seeded(lambda: MLP((6, 9, 3)), seed).double() for seed in SEEDS]


def pruned():
    return [apply_masks(net, global_mask(score_mag(net), 0.3)) for net in dense()]


def shared(method):
    return share_members(method, dense(), 3, seeds=SEEDS)


def by_hand(model, x, y, order, scaled):
    """A plain loop; the rate drops by ten at 60 % of the epochs."""
    model = deepcopy(model)
    optimizer = torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad], 0.1, momentum=0.9, weight_decay=1e-2
    )
    if scaled:
        attach_gradient_scaling(optimizer, model)
    for epoch in range(5):
        optimizer.param_groups[0]["lr"] = 0.1 if epoch < 3 else 0.01
        losses = []
        for rows in order[epoch].split(7):
            loss = cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()) * len(rows))
    return model, sum(losses) / len(y)


@pytest.mark.parametrize("kind", ["dense", "pruned", "rps_stable", "rps_unscaled", "rps_frozen"])
def test_equals_a_plain_loop(kind):
    models = {"dense": dense, "pruned": pruned}.get(kind, lambda: shared(kind))()
    (x, y), test = samples(40, 0), samples(30, 1)
    before = deepcopy(models)
    ensemble, runs = train_compressed(models, SEEDS, train=(x, y), test=test, **RECIPE)
    for model, same in zip(models, before, strict=True):
        assert all(map(torch.equal, model.state_dict().values(), same.state_dict().values()))
    orders = batch_orders(40, 5, SEEDS)
    assert runs["seed"].tolist() == list(SEEDS) and not runs["diverged"].any()
    for e, member in enumerate(ensemble.members()):
        alone, loss = by_hand(models[e], x[e], y[e], orders[e], kind == "rps_stable")
        ours, theirs = (dict(materialise(m).named_parameters()) for m in (member, alone))
        for name, tensor in theirs.items():
            torch.testing.assert_close(ours[name], tensor, rtol=1e-9, atol=1e-11)
        accuracy = (alone(test[0][e]).argmax(-1) == test[1][e]).double().mean()
        assert runs["test_acc"][e] == pytest.approx(float(accuracy))
        assert runs["train_loss"][e] == pytest.approx(loss, rel=1e-9)


def test_bad_input():
    with pytest.raises(ValueError, match="models is empty"):
        train_compressed([], (), train=samples(4, 0), test=samples(4, 1), **RECIPE)
    with pytest.raises(ValueError, match=r"\(2 or 1, epochs, samples\)"):
        train_compressed(dense(), (3, 4, 5), train=samples(9, 0), test=samples(4, 1), **RECIPE)
