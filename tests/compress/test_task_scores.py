"""Scores through a task equal those of plain batches, however inputs arrive."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from toys.model_zoo import ZOO

from overparam.compress import (
    apply_masks,
    global_mask,
    score_grasp,
    score_mag,
    score_snip,
    synflow_masks,
    task_score_grasp,
    task_score_snip,
    task_synflow_masks,
)
from overparam.compress.calibration import labelled_batches
from overparam.datasets import InMemory
from overparam.training import Task

FOUR = Task("classification", tuple("abcd"))
SCORES = {"snip": (task_score_snip, score_snip), "grasp": (task_score_grasp, score_grasp)}


def batches_of(toy, size):
    return list(InMemory(toy.inputs, toy.targets()).batches(size))


@pytest.mark.parametrize("size", [6, 4, 1])
@pytest.mark.parametrize("name", ["mlp", "conv_bn", "odd_convolutions", "tied_layers"])
@pytest.mark.parametrize("score", SCORES)
def test_batches_sum_to_the_score_of_all(score, name, size):
    toy, (ours, plain) = ZOO[name], SCORES[score]
    model = toy.factory().eval().double()
    x = toy.inputs.double()
    found = ours(model, list(InMemory(x, toy.targets()).batches(size)), FOUR)
    expected = plain(model, x, toy.targets())
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.allclose(found[key], value, rtol=1e-9, atol=1e-22)


@pytest.mark.parametrize("score", SCORES)
def test_masks_that_a_model_carries_count(score):
    toy, (ours, plain) = ZOO["mlp"], SCORES[score]
    model = toy.factory().eval()
    masked = apply_masks(model, global_mask(score_mag(model), 0.5))
    found = ours(masked, batches_of(toy, 6), FOUR)
    for key, value in plain(masked, toy.inputs, toy.targets()).items():
        assert torch.allclose(found[key], value, rtol=1e-4, atol=1e-12)
        assert not found[key][~masked.get_buffer(f"{key}_mask")].any()


def test_snip_of_a_regression_uses_its_loss():
    toy = ZOO["regression"]
    model = toy.factory()
    F.mse_loss(model(toy.inputs), toy.targets()).backward()
    for key, value in task_score_snip(model, batches_of(toy, 2), Task("regression")).items():
        p = model.get_parameter(key)
        assert torch.allclose(value, (p * p.grad).abs(), atol=1e-7)


def test_grasp_of_a_regression_is_the_slope_of_the_squared_gradient():
    toy, task = ZOO["regression"], Task("regression")
    model = toy.factory().double()
    x, y = toy.inputs.double(), toy.targets().double()
    scores = task_score_grasp(model, list(InMemory(x, y).batches(4)), task)

    def squared():
        weights = [model[0].weight, model[2].weight]
        gradients = torch.autograd.grad(F.mse_loss(model(x), y), weights)
        return sum(float(g.square().sum()) for g in gradients)

    for key in scores:
        p, step = model.get_parameter(key), 1e-5
        for place in ((0, 0), (0, 7)):
            with torch.no_grad():
                old = p[place].item()
                p[place] = old * (1 + step)
            up = squared()
            with torch.no_grad():
                p[place] = old * (1 - step)
            down = squared()
            with torch.no_grad():
                p[place] = old
            assert float(scores[key][place]) == pytest.approx(
                0.5 * (up - down) / (2 * step), rel=1e-5
            )


def test_dicts_tuples_and_own_forwards_give_the_same():
    model = ZOO["two_inputs"].factory()
    own = Task(
        "classification", tuple("abcd"), forward=lambda net, x: {"logits": net(x[0], numbers=x[1])}
    )
    a = task_score_grasp(model, batches_of(ZOO["two_inputs"], 4), FOUR)
    for task in (FOUR, own):
        b = task_score_grasp(model, batches_of(ZOO["tuple_inputs"], 4), task)
        assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("name", ["mlp", "conv_bn", "tied_layers"])
def test_synflow_masks_are_those_of_the_plain_function(name):
    toy = ZOO[name]
    model = toy.factory()
    ours = task_synflow_masks(model, toy.inputs, FOUR, count=60)
    for key, mask in synflow_masks(model, toy.inputs, count=60).items():
        assert torch.equal(ours[key], mask)


def test_synflow_of_tokens_flows_through_the_rows_they_name():
    toy = ZOO["recurrent"]
    mask = task_synflow_masks(toy.factory(), toy.inputs, FOUR, count=300)["embedding.weight"]
    rows = torch.zeros(60, dtype=torch.bool)
    rows[toy.inputs.unique()] = True
    assert mask.any() and not mask[~rows].any()


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("score", SCORES)
def test_every_model_is_scored_without_being_changed(score, name):
    toy = ZOO[name]
    model = toy.factory().train()
    own = [id(p) for m in model.modules() for p in m._parameters.values()]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    task = Task("classification", tuple(map(str, range(toy.classes)))) if toy.classes else None
    state = torch.get_rng_state()
    scores = SCORES[score][0](model, batches_of(toy, 4), task or Task("regression"))
    assert torch.equal(state, torch.get_rng_state())
    assert all(m.training for m in model.modules())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert own == [id(p) for m in model.modules() for p in m._parameters.values()]
    assert all(p.grad is None for p in model.parameters())
    assert all(value.isfinite().all() for value in scores.values())
    assert sum(float(value.abs().sum()) for value in scores.values()) > 0


def test_a_module_in_two_places_scores_as_its_uses_together():
    toy = ZOO["shared_module"]
    model = toy.factory()
    F.cross_entropy(model(toy.inputs), toy.targets()).backward()
    scores = task_score_snip(model, batches_of(toy, 6), FOUR)
    assert list(scores) == ["blocks.0.0.weight", "head.weight"]
    p = model.again.weight
    assert p is model.blocks[1][0].weight and isinstance(p, nn.Parameter)
    assert torch.allclose(scores["blocks.0.0.weight"], (p * p.grad).abs(), atol=1e-7)


def test_bad_input():
    model = ZOO["mlp"].factory()
    with pytest.raises(ValueError, match="batches is empty"):
        task_score_snip(model, [], FOUR)
    with pytest.raises(ValueError, match="temperature is 0"):
        task_score_grasp(model, batches_of(ZOO["mlp"], 6), FOUR, temperature=0)
    nn.init.constant_(model[0].weight, torch.inf)
    with pytest.raises(ValueError, match="NaN or infinite in double precision"):
        task_synflow_masks(model, ZOO["mlp"].inputs, FOUR, count=60)


def test_labelled_batches_are_drawn_by_the_seed():
    data = InMemory(torch.arange(100.0)[:, None], torch.arange(100))
    found = labelled_batches(data, 30, seed=1, size=20)
    assert [len(y) for _, y in found] == [20, 20]
    assert torch.equal(found[0][1], labelled_batches(data, 30, seed=1, size=20)[0][1])
    assert not torch.equal(found[0][1], labelled_batches(data, 30, seed=2, size=20)[0][1])
    assert not torch.equal(found[0][1], torch.arange(20))
