from copy import deepcopy
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from overparam.compress import (
    apply_masks,
    compressible_weights,
    dead_layers,
    global_mask,
    kept_count,
    masked_members,
    masks_of,
    materialise,
    ranking,
    score_mag,
    score_random,
)
from overparam.training import Ensemble, batch_orders, fit


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)
    )


def torch_masks(model, method, amount):
    pruned = deepcopy(model)
    prune.global_unstructured(
        [(pruned[0], "weight"), (pruned[4], "weight")], pruning_method=method, amount=amount
    )
    return {"0.weight": pruned[0].weight_mask.bool(), "4.weight": pruned[4].weight_mask.bool()}


@pytest.mark.parametrize("keep", [0.01, 0.1, 1 / 3, 0.5, 2 / 3, 0.9, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_magnitude_masks_equal_torch_prune(keep, seed):
    model = net(seed)
    ours = global_mask(score_mag(model), keep)
    theirs = torch_masks(model, prune.L1Unstructured, 1 - keep)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("count", [1, 17, 755, 756])
def test_magnitude_masks_equal_torch_prune_by_count(count):
    model = net()
    ours = global_mask(score_mag(model), count=count)
    theirs = torch_masks(model, prune.L1Unstructured, 756 - count)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("keep", [0.1, 1 / 3, 0.77])
def test_random_masks_count_as_torch_prune(keep):
    model = net()
    ours = global_mask(score_random(model, seed=0), keep)
    theirs = torch_masks(model, prune.RandomUnstructured, 1 - keep)
    assert sum(int(m.sum()) for m in ours.values()) == sum(int(m.sum()) for m in theirs.values())


@given(
    values=st.lists(st.integers(-3, 3), min_size=2, max_size=60),
    cut=st.integers(0, 60),
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_counts_are_exact_and_ties_go_by_index(values, cut, data):
    cut = min(cut, len(values) - 1)
    count = data.draw(st.integers(1, len(values)))
    flat = torch.tensor(values, dtype=torch.float32)
    scores = {"a": flat[:cut], "b": flat[cut:]} if cut else {"b": flat}
    mask = torch.cat(list(global_mask(scores, count=count).values()))
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))
    expected = torch.zeros(len(values), dtype=torch.bool)
    expected[order[:count]] = True
    assert torch.equal(mask, expected)
    again = torch.cat(list(ranking(scores).masks(count=count).values()))
    assert torch.equal(again, expected)


def test_all_equal_scores_keep_exactly_k():
    scores = {"a": torch.ones(7, 3), "b": torch.ones(50)}
    for count in (1, 20, 21, 22, 70, 71):
        masks = global_mask(scores, count=count)
        assert sum(int(m.sum()) for m in masks.values()) == count


def test_stacked_scores_are_cut_member_by_member():
    generator = torch.Generator().manual_seed(0)
    scores = {
        "a": torch.rand(3, 4, 5, generator=generator).round(decimals=1),
        "b": torch.rand(3, 6, generator=generator).round(decimals=1),
    }
    ranked = ranking(scores, stacked=True)
    assert ranked.n == 26
    for count in (1, 13, 26):
        masks = global_mask(scores, count=count, stacked=True)
        again = ranked.masks(count=count)
        for e in range(3):
            alone = global_mask({n: s[e] for n, s in scores.items()}, count=count)
            for name in scores:
                assert torch.equal(masks[name][e], alone[name])
                assert torch.equal(again[name][e], alone[name])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keep": 0.0}, "keep is 0"),
        ({"keep": 1.1}, "keep is 1.1"),
        ({"keep": float("nan")}, "keep is nan"),
        ({"keep": 0.01}, "leaves none of 4"),
        ({"count": 0}, "count is 0"),
        ({"count": 5}, r"1\.\.4"),
        ({}, "exactly one"),
        ({"keep": 0.5, "count": 2}, "exactly one"),
    ],
)
def test_bad_counts(arguments, message):
    for cut in (partial(global_mask, {"w": torch.rand(4)}), ranking({"w": torch.rand(4)}).masks):
        with pytest.raises(ValueError, match=message):
            cut(**arguments)


def test_bad_scores():
    with pytest.raises(ValueError, match="empty"):
        global_mask({}, 0.5)
    with pytest.raises(ValueError, match="'b' contain NaN"):
        global_mask({"a": torch.ones(2), "b": torch.tensor([1.0, torch.nan])}, 0.5)
    assert kept_count(100, 2 / 3) == 67


def small_masks(model, keep=0.3):
    return global_mask(score_mag(model), keep)


def train(model, steps=15):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2)
    x = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), torch.arange(16) % 5).backward()
        optimizer.step()
    return model


def test_masks_survive_fine_tuning_copies_and_export():
    dense = net()
    masks = small_masks(dense)
    model = apply_masks(dense, masks)
    assert type(dense[0]) is nn.Conv2d and isinstance(model[0], nn.Conv2d)
    assert [n for n, _ in model.named_parameters()] == [n for n, _ in dense.named_parameters()]
    before = model[4].weight.detach().clone()
    copy = deepcopy(train(model))
    train(copy, steps=3)
    assert not torch.equal(copy[4].weight, before)
    for trained in (model, copy):
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in trained.modules())
        for name, mask in masks.items():
            weight = trained.get_submodule(name[0]).weight
            assert (weight[~mask] == 0).all() and (weight[mask] != 0).all()
            assert torch.equal(masks_of(trained)[name], mask)
    plain = materialise(copy)
    assert list(plain.state_dict()) == list(dense.state_dict())
    for name, mask in masks.items():
        assert torch.equal(plain.state_dict()[name] != 0, mask)
    x = torch.randn(4, 1, 8, 8)
    assert torch.equal(plain.eval()(x), copy.eval()(x))
    assert [type(m) for m in plain.modules()] == [type(m) for m in dense.modules()]
    loaded = apply_masks(net(1), {n: torch.ones_like(m) for n, m in masks.items()})
    loaded.load_state_dict(copy.state_dict())
    assert torch.equal(loaded.eval()(x), copy(x))


def test_there_is_one_copy_of_a_mask():
    model = apply_masks(net(), small_masks(net()))
    booleans = [n for n, t in model.state_dict().items() if t.dtype == torch.bool]
    assert booleans == ["0.weight_mask", "4.weight_mask"]


def test_masks_are_intersected_and_partial_masks_leave_the_rest_free():
    model = net()
    first, second = small_masks(model, 0.6), global_mask(score_random(model, seed=1), 0.5)
    twice = apply_masks(apply_masks(model, first), {"4.weight": second["4.weight"]})
    assert torch.equal(masks_of(twice)["4.weight"], first["4.weight"] & second["4.weight"])
    assert torch.equal(masks_of(twice)["0.weight"], first["0.weight"])
    assert masks_of(apply_masks(model, {"4.weight": second["4.weight"]})).keys() == {"4.weight"}
    assert masks_of(model) == {}


def test_a_masked_entry_stays_zero_even_when_what_lies_under_it_is_not_finite():
    model = apply_masks(nn.Linear(2, 1, bias=False), {"weight": torch.tensor([[True, False]])})
    with torch.no_grad():
        dict(model.named_parameters())["weight"].copy_(torch.tensor([[1.0, torch.inf]]))
    assert model.weight.tolist() == [[1.0, 0.0]]
    assert materialise(model).weight.tolist() == [[1.0, 0.0]]
    model(torch.ones(1, 2)).sum().backward()
    assert dict(model.named_parameters())["weight"].grad.tolist() == [[1.0, 0.0]]


def test_tied_weights_share_one_mask_and_stay_tied():
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    assert len(compressible_weights(model)) == 1
    masked = apply_masks(model, {"0.weight": torch.eye(4, dtype=torch.bool)})
    assert torch.equal(masked[2].weight, torch.diag(torch.diag(model[0].weight)))
    assert len(list(masked.parameters())) == 3
    masked = apply_masks(masked, {"0.weight": torch.eye(4, dtype=torch.bool).roll(1, 0)})
    assert (masked[0].weight == 0).all() and (masked[2].weight == 0).all()
    plain = materialise(masked)
    assert plain[0].weight is plain[2].weight


def test_an_ensemble_of_masked_models_trains_as_each_alone():
    torch.manual_seed(0)
    seeds = (1, 2, 3)
    dense = [nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).double() for _ in seeds]
    stacked = global_mask(score_mag(Ensemble(dense)), 0.4, stacked=True)
    masked = masked_members(dense, stacked)
    x, y = torch.randn(20, 6, dtype=torch.float64), torch.arange(20) % 3
    optimizer = partial(torch.optim.SGD, lr=0.2, momentum=0.9, weight_decay=1e-3)
    ensemble = Ensemble(masked)
    fit(
        ensemble, x, y, epochs=3, batch_size=10, optimizer=optimizer,
        orders=batch_orders(20, 3, seeds),
    )  # fmt: skip
    for e, model in enumerate(masked):
        descent = optimizer(model.parameters())
        for order in batch_orders(20, 3, seeds)[e]:
            for batch in order.split(10):
                descent.zero_grad()
                nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
                descent.step()
        member = ensemble.members()[e]
        assert torch.allclose(member[0].weight, model[0].weight, rtol=1e-10)
        assert torch.equal(member[0].weight != 0, small_masks(dense[e], 0.4)["0.weight"])


def test_members_need_a_mask_each():
    with pytest.raises(ValueError, match=r"'4\.weight' has 2 members, models has 1"):
        masked_members([net()], {"4.weight": torch.ones(2, 5, 144, dtype=torch.bool)})


@pytest.mark.parametrize(
    ("masks", "error", "message"),
    [
        ({"9.weight": torch.ones(2, dtype=torch.bool)}, ValueError, r"'9\.weight'.*'0\.weight'"),
        ({"4.weight": torch.ones(2, dtype=torch.bool)}, ValueError, r"\(2,\); expected \(5, 144\)"),
        ({"4.weight": torch.ones(5, 144)}, TypeError, "float32"),
    ],
)
def test_bad_masks(masks, error, message):
    with pytest.raises(error, match=message):
        apply_masks(net(), masks)


def test_dead_layers_are_counted():
    masks = {"a": torch.tensor([[False, False], [True, False]]), "b": torch.zeros(2, 3).bool()}
    assert int(dead_layers(masks)) == 1
    assert dead_layers(masks, stacked=True).tolist() == [2, 1]
