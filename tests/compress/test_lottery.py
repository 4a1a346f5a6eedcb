from copy import deepcopy

import pytest
import torch
from torch import nn

from overparam.compress import lottery_rewind, masks_of


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 4))


class Trainer:
    """Adds known noise to what is trainable, and keeps copies of what came in and went out."""

    def __init__(self):
        self.before, self.after = [], []

    def of_lists(self, models, round_number):
        (model,) = models
        return [self(model, round_number)]

    def __call__(self, model, round_number):
        assert round_number == len(self.before)
        self.before.append(deepcopy(model))
        generator = torch.Generator().manual_seed(round_number)
        with torch.no_grad():
            for p in model.parameters():
                p += torch.randn(p.shape, generator=generator)
        model(torch.randn(5, 8, generator=generator))
        self.after.append(deepcopy(model))
        return model


def test_rounds_prune_by_trained_magnitude_and_rewind_everything():
    early, trainer = net(), Trainer()
    state = {n: t.clone() for n, t in early.state_dict().items()}
    result = lottery_rewind([early], trainer.of_lists, 0.125, rounds=3)[0]
    assert result.kept == (72, 36, 18) and len(trainer.before) == 4
    assert all(torch.equal(t, state[n]) for n, t in early.state_dict().items())
    alive = {"0.weight": torch.ones(12, 8).bool(), "3.weight": torch.ones(4, 12).bool()}
    for r, count in enumerate(result.kept):
        weights = {n: trainer.after[r].get_submodule(n[0]).weight.detach() for n in alive}
        flat = torch.cat([w.abs().masked_fill(~alive[n], -1).flatten() for n, w in weights.items()])
        threshold = flat.sort(descending=True).values[count - 1]
        alive = {n: (w.abs() >= threshold) & alive[n] for n, w in weights.items()}
        rewound = trainer.before[r + 1]
        carried = masks_of(rewound)
        for name, mask in alive.items():
            assert torch.equal(carried[name], mask)
            weight = rewound.get_submodule(name[0]).weight
            assert torch.equal(weight, torch.where(mask, state[name], 0.0))
        assert torch.equal(rewound[0].bias, state["0.bias"])
        assert torch.equal(rewound[1].running_mean, state["1.running_mean"])
        assert int(rewound[1].num_batches_tracked) == 0
    assert all(torch.equal(result.masks[n], alive[n]) for n in alive)
    assert torch.equal(
        result.ticket[0].weight, torch.where(alive["0.weight"], state["0.weight"], 0.0)
    )
    trained = result.trained[0].weight
    assert torch.equal(trained, trainer.after[3][0].weight)
    assert torch.equal(trained != 0, alive["0.weight"])


def test_exact_count_and_a_single_round():
    result = lottery_rewind([net()], lambda models, r: models, count=5, rounds=1)[0]
    assert result.kept == (5,)
    assert sum(int(m.sum()) for m in result.masks.values()) == 5


def test_a_live_weight_of_zero_is_kept_before_a_masked_one():
    early = net()
    with torch.no_grad():
        early[0].weight.zero_()
        early[3].weight.zero_()
    result = lottery_rewind([early], lambda models, r: models, count=30, rounds=4)[0]
    assert result.kept[-1] == 30
    assert sum(int(m.sum()) for m in masks_of(result.ticket).values()) == 30


def test_bad_input():
    with pytest.raises(ValueError, match="rounds is 0"):
        lottery_rewind([net()], lambda model, r: model, 0.5, rounds=0)
    with pytest.raises(ValueError, match="exactly one"):
        lottery_rewind([net()], lambda model, r: model, rounds=2)


def test_members_side_by_side_equal_each_alone():
    def train(models, round_number):
        for model in models:
            generator = torch.Generator().manual_seed(round_number)
            with torch.no_grad():
                for p in model.parameters():
                    p += p * torch.rand(p.shape, generator=generator)
        return models

    first, second = net(), net()
    with torch.no_grad():
        second[0].weight.mul_(torch.linspace(0.1, 2, 96).reshape(12, 8))
    together = lottery_rewind([first, second], train, count=20, rounds=3)
    for early, ticket in zip((first, second), together, strict=True):
        (alone,) = lottery_rewind([early], train, count=20, rounds=3)
        assert all(torch.equal(ticket.masks[n], alone.masks[n]) for n in alone.masks)
        assert all(
            torch.equal(a, b)
            for a, b in zip(ticket.trained.parameters(), alone.trained.parameters(), strict=True)
        )
    assert not torch.equal(together[0].masks["0.weight"], together[1].masks["0.weight"])
