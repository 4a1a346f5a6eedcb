"""Movement pruning: scores against sums by hand, masks that follow them, the cubic."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from toys.model_zoo import ZOO

from overparam.compress import MaskedWeight, compressible_weights, global_mask, movement_prune
from overparam.compress.movement import Moving, cubic
from overparam.compress.single_names import single_names
from overparam.datasets import InMemory
from overparam.models import seeded
from overparam.training import Recipe, Task

FOUR = Task("classification", tuple("abcd"))


def moving_of(model):
    return Moving(model, compressible_weights(model))


def step(model, toy, rate=0.5):
    F.cross_entropy(toy.call(model), toy.targets()).backward()
    with torch.no_grad():
        for p in model.parameters():
            if p.grad is not None:
                p -= rate * p.grad
                p.grad = None


def by_hand(model, toy, counts, rate=0.5):
    """Scores of SGD with plain tensors; after each step the best ``count`` are kept."""
    weights = {n: p for n, p in model.named_parameters() if n.endswith("weight")}
    scores = {n: torch.zeros_like(w) for n, w in weights.items()}
    masks = {n: torch.ones_like(w, dtype=torch.bool) for n, w in weights.items()}
    for count in counts:
        used = {n: (w.detach() * masks[n]).requires_grad_() for n, w in weights.items()}
        loss = F.cross_entropy(
            torch.func.functional_call(model, used, (toy.inputs,)), toy.targets()
        )
        rest = [p for n, p in model.named_parameters() if n not in weights]
        gradients = torch.autograd.grad(loss, [*used.values(), *rest])
        with torch.no_grad():
            for (n, w), g in zip(weights.items(), gradients, strict=False):
                scores[n] -= w * g
                w -= rate * g * masks[n]
            for p, g in zip(rest, gradients[len(weights) :], strict=True):
                p -= rate * g
        masks = global_mask(scores, count=count)
    return scores, masks


def test_scores_are_the_sums_of_weight_times_gradient_also_of_masked_weights():
    toy, counts = ZOO["mlp"], (300, 200, 120, 120, 90)
    moving = moving_of(toy.factory().eval())
    seen = []
    for count in counts:
        step(moving.model, toy)
        moving.keep(count)
        seen.append({n: mask.clone() for n, mask in moving.masks.items()})
        assert sum(int(m.sum()) for m in moving.masks.values()) == count
    reference = toy.factory().eval()
    scores, masks = by_hand(reference, toy, counts)
    for n, value in scores.items():
        assert torch.allclose(moving.scores[n], value, atol=1e-6)
        assert torch.equal(moving.masks[n], masks[n])
    plain = moving.plain()
    assert all(
        torch.allclose(a, b, atol=1e-6)
        for a, b in zip(plain.parameters(), reference.parameters(), strict=True)
    )
    back = [(~seen[i][n] & seen[i + 1][n]).any() for i in (1, 2, 3) for n in seen[i]]
    assert any(back), "no masked weight came back"


def test_a_weight_that_moves_away_from_zero_scores_higher():
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 1.0]]))
    moving = moving_of(model)
    model(torch.tensor([[-1.0, 2.0]])).sum().backward()
    assert moving.scores["weight"].tolist() == [[1.0, -2.0]]


@pytest.mark.parametrize("name", ["tied_layers", "shared_module"])
def test_uses_of_one_weight_add_up(name):
    toy = ZOO[name]
    plain = toy.factory()
    F.cross_entropy(plain(toy.inputs), toy.targets()).backward()
    model = toy.factory()
    moving = Moving(model, compressible_weights(single_names(model).emptied(model)))
    F.cross_entropy(model(toy.inputs), toy.targets()).backward()
    for key, score in moving.scores.items():
        p = plain.get_parameter(key)
        assert torch.allclose(score, -p.detach() * p.grad, atol=1e-7)


def test_the_cubic_is_flat_at_both_ends_and_never_rises():
    values = [cubic(t, 1000, 0.05) for t in range(1001)]
    assert values[:101] == [1.0] * 101 and all(v == pytest.approx(0.05) for v in values[800:])
    assert values == sorted(values, reverse=True)
    assert values[450] == pytest.approx(0.05 + 0.95 / 8)


def test_the_result_is_masked_exactly_and_plain_otherwise():
    toy = ZOO["conv_bn"]
    model = toy.factory()
    data = InMemory(toy.inputs, toy.targets())
    small = movement_prune(model, data, FOUR, Recipe(4, 1e-2, batch_size=2), count=77, seed=0)
    masks = [m.weight_mask for m in small.modules() if isinstance(m, MaskedWeight)]
    assert len(masks) == 3 and sum(int(m.sum()) for m in masks) == 77
    assert {type(m).__name__ for m in small.modules()} >= {"MaskedConv2d", "MaskedLinear"}
    assert not any("Moving" in type(m).__name__ for m in small.modules())
    assert not any(hasattr(m, "weight_scores") for m in small.modules())
    assert not torch.equal(small[0]._parameters["weight"], model[0].weight)


def test_it_learns_while_it_prunes():
    x = torch.randn(400, 20, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] + x[:, 1] > 0).long()
    net = seeded(lambda: nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 2)), 0)
    task = Task("classification", ("no", "yes"))
    small = movement_prune(
        net, InMemory(x, y), task, Recipe(30, 1e-2, batch_size=40), count=30, seed=0
    ).eval()
    assert (small(x).argmax(1) == y).float().mean() > 0.9
    inlet = small[0].weight_mask.sum(0)
    assert inlet[:2].sum() > 0.5 * inlet.sum()


@pytest.mark.parametrize(
    ("count", "epochs", "words"),
    [(0, 1, "count is 0"), (385, 1, r"1\.\.384"), (9, 0, "epochs is 0")],
)
def test_bad_input(count, epochs, words):
    toy = ZOO["mlp"]
    data = InMemory(toy.inputs, toy.targets())
    with pytest.raises(ValueError, match=words):
        movement_prune(toy.factory(), data, FOUR, Recipe(epochs, 0.1), count=count, seed=0)
