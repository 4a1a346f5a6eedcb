import pytest
import torch
from torch import nn

from overparam.compress import apply_masks, masks_of, prune_iterative, score_mag
from overparam.training import Ensemble


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(10, 10, bias=False), nn.ReLU(), nn.Linear(10, 10, bias=False))


class Recorder:
    """Magnitude, remembering the masks it saw; turns the order around in every round."""

    def __init__(self):
        self.seen = []

    def __call__(self, model, *, masks):
        self.seen.append(torch.cat([m.flatten() for m in masks.values()]))
        sign = (-1) ** len(self.seen)
        return {name: sign * score for name, score in score_mag(model).items()}


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("exponential", [round(200 * 0.1 ** (t / 4)) for t in range(1, 4)]),
        ("linear", [155, 110, 65]),
        (lambda t, rounds, keep: 1 - (1 - keep) * (t / rounds) ** 2, [189, 155, 99]),
        (lambda t, rounds, keep: 0.0, [20, 20, 20]),
        (lambda t, rounds, keep: 2.0, [200, 200, 200]),
    ],
)
def test_counts_follow_the_schedule_and_nothing_comes_back(schedule, expected):
    recorder = Recorder()
    masks = prune_iterative(net(), recorder, 0.1, 4, schedule)
    counts = [int(m.sum()) for m in recorder.seen]
    assert counts == [200, *expected]
    final = torch.cat([m.flatten() for m in masks.values()])
    assert int(final.sum()) == 20
    for earlier, later in zip(recorder.seen, [*recorder.seen[1:], final], strict=True):
        assert not (later & ~earlier).any()


def test_one_round_of_magnitude_is_a_global_cut():
    model = net()
    masks = prune_iterative(model, score_mag, count=37, rounds=1)
    flat = torch.cat([w.detach().abs().flatten() for w in model.parameters()])
    kept = torch.cat([m.flatten() for m in masks.values()])
    assert torch.equal(kept, flat >= flat.sort(descending=True).values[36])


def test_ensembles_are_pruned_member_by_member():
    models = [net(s) for s in range(3)]
    together = prune_iterative(Ensemble(models), score_mag, 0.3, 5)
    for e, model in enumerate(models):
        alone = prune_iterative(model, score_mag, 0.3, 5)
        assert all(torch.equal(together[name][e], alone[name]) for name in alone)
        carried = masks_of(apply_masks(model, {n: m[e] for n, m in together.items()}))
        assert all(torch.equal(carried[name], alone[name]) for name in alone)


def test_bad_input():
    with pytest.raises(ValueError, match="rounds is 0"):
        prune_iterative(net(), score_mag, 0.5, 0)
    with pytest.raises(ValueError, match=r"'cubic'.*exponential"):
        prune_iterative(net(), score_mag, 0.5, 3, "cubic")
    with pytest.raises(ValueError, match="keep is 0"):
        prune_iterative(net(), score_mag, 0.0)
    with pytest.raises(ValueError, match=r"'0\.weight' contain NaN"):
        prune_iterative(
            net(), lambda m, *, masks: {n: s * torch.nan for n, s in score_mag(m).items()}, 0.5, 2
        )
