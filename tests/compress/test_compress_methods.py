"""Built-in methods on every model of the zoo: exact budgets, nothing changed, nothing lost."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from toys.model_zoo import ZOO

from overparam.compress import (
    CannotTreat,
    LeftAlone,
    MaskedWeight,
    SharedModel,
    kept_weights,
    load_method,
    materialise,
    score_random,
)
from overparam.datasets import InMemory
from overparam.training import Recipe, Task, train_model

MASKS = (
    "random",
    "magnitude",
    "magnitude_layer",
    "snip",
    "grasp",
    "synflow",
    "movement",
    "lottery",
)
SHARING = ("hashed_net", "roast", "stable_rps")
FACTORS = ("low_rank", "tucker")
ODD = {
    "odd_convolutions": "transposed (ConvTranspose2d)",
    "encoder": "layer.self_attn (MultiheadAttention)",
    "recurrent": "lstm (LSTM)",
    "frozen": "0 (frozen Linear)",
}


def task_of(toy):
    if toy.classes:
        return Task("classification", tuple(map(str, range(toy.classes))))
    return Task("regression")


def compressed(method, name, ratio=1.3, model=None, epochs=2):
    toy = ZOO[name]
    model = model or toy.factory()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeftAlone)
        return load_method(method)(
            model,
            ratio=ratio,
            data=InMemory(toy.inputs, toy.targets()),
            task=task_of(toy),
            seed=3,
            recipe=Recipe(epochs, 1e-2, batch_size=2),
            initial=toy.factory(),
        )


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def left(model):
    """Parameters of a masked model that are not masked."""
    masks = {
        id(m.weight_mask): m.weight_mask for m in model.modules() if isinstance(m, MaskedWeight)
    }
    return parameters(model) - sum(int((~mask).sum()) for mask in masks.values())


def outputs(name, model):
    with torch.no_grad():
        return ZOO[name].call(model.eval())


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("method", MASKS)
def test_masks_leave_exactly_what_the_ratio_asks_for(method, name):
    toy = ZOO[name]
    model = toy.factory().train()
    list(model.modules())[-1].eval()
    before = copy.deepcopy(model.state_dict())
    small = compressed(method, name, model=model)
    assert left(small) == round(parameters(model) / 1.3)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    modes = {n: m.training for n, m in model.named_modules()}
    assert modes == {n: m.training for n, m in small.named_modules()}
    assert [n for n, _ in small.named_modules(remove_duplicate=False)] == [
        n for n, _ in model.named_modules(remove_duplicate=False)
    ]
    assert outputs(name, small).shape == outputs(name, model).shape
    assert outputs(name, small).isfinite().all()


@pytest.mark.parametrize("ratio", [1.01, 3.7, 10])
@pytest.mark.parametrize("method", MASKS)
def test_counts_are_exact_at_every_ratio(method, ratio):
    small = compressed(method, "conv_bn", ratio)
    assert left(small) == round(1620 / ratio)


@pytest.mark.parametrize("method", [*MASKS, *SHARING])
def test_a_ratio_that_the_rest_exceeds_cannot_be_treated(method):
    with pytest.raises(CannotTreat, match="ratio 10 leaves"):
        compressed(method, "recurrent", 10)


@pytest.mark.parametrize("method", [*MASKS, *SHARING, *FACTORS])
def test_a_ratio_of_one_is_refused(method):
    with pytest.raises(ValueError, match="ratio is 1; allowed > 1"):
        compressed(method, "conv_bn", 1)


@pytest.mark.parametrize("method", [*MASKS, *SHARING, *FACTORS])
def test_a_model_without_weights_cannot_be_treated(method):
    data = InMemory(torch.ones(4, 3), torch.arange(4) % 2)
    with pytest.raises(CannotTreat):
        load_method(method)(
            nn.LayerNorm(3),
            ratio=1.5,
            data=data,
            task=Task("classification", ("a", "b")),
            seed=0,
            recipe=Recipe(1, 0.1),
            initial=nn.LayerNorm(3),
        )


@pytest.mark.parametrize("method", ["movement", "lottery"])
def test_methods_that_train_need_epochs(method):
    with pytest.raises(CannotTreat, match="no epochs"):
        compressed(method, "mlp", epochs=0)


def test_rewinding_refuses_a_model_that_was_changed_before():
    with pytest.raises(CannotTreat, match="of another shape"):
        compressed("lottery", "mlp", model=compressed("low_rank", "mlp", 2))


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("method", ["magnitude", "snip", "movement", "lottery", "stable_rps"])
def test_layers_left_alone_are_named(method, name):
    toy = ZOO[name]
    with pytest.warns(LeftAlone) as caught:
        load_method(method)(
            toy.factory(),
            ratio=1.2,
            data=InMemory(toy.inputs, toy.targets()),
            task=task_of(toy),
            seed=3,
            recipe=Recipe(1, 1e-2, batch_size=2),
            initial=toy.factory(),
        )
    assert [str(w.message) for w in caught] == [f"{ODD[name]}: left dense"]


@pytest.mark.parametrize("ratio", [1.2, 2, 5, 20])
@pytest.mark.parametrize("name", ["mlp", "conv_bn", "residual", "bert"])
def test_magnitude_and_random_masks_equal_torch_prune(name, ratio):
    model = ZOO[name].factory()
    noise = score_random(model, seed=3)
    kinds = (nn.Linear, nn.Conv2d, nn.Embedding)
    for method in ("magnitude", "random"):
        try:
            count = kept_weights(model, ratio)
        except CannotTreat:
            assert ratio == 20
            return
        small = compressed(method, name, ratio)
        theirs = copy.deepcopy(model)
        layers = {n: m for n, m in theirs.named_modules() if isinstance(m, kinds)}
        scores = None
        if method == "random":
            scores = {(layer, "weight"): noise[f"{n}.weight"] for n, layer in layers.items()}
        total = sum(layer.weight.numel() for layer in layers.values())
        prune.global_unstructured(
            [(layer, "weight") for layer in layers.values()],
            pruning_method=prune.L1Unstructured,
            importance_scores=scores,
            amount=total - count,
        )
        for n, layer in layers.items():
            assert torch.equal(small.get_submodule(n).weight_mask, layer.weight_mask.bool())


def test_layer_magnitude_masks_equal_torch_prune():
    small, model = compressed("magnitude_layer", "residual", 3), ZOO["residual"].factory()
    kept = kept_weights(model, 3)
    weights = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear))
    for n, layer in list(model.named_modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            mask = small.get_submodule(n).weight_mask
            assert abs(int(mask.sum()) - kept * mask.numel() / weights) < 1
            prune.l1_unstructured(layer, "weight", amount=int((~mask).sum()))
            assert torch.equal(mask, layer.weight_mask.bool())


@pytest.mark.parametrize("name", ZOO)
def test_masks_survive_fine_tuning_deep_copies_and_state_dicts(name):
    toy = ZOO[name]
    small = compressed("magnitude", name)
    masks = {
        n: m.weight_mask.clone() for n, m in small.named_modules() if isinstance(m, MaskedWeight)
    }
    budget, start = left(small), outputs(name, small)
    data = InMemory(toy.inputs, toy.targets())
    train_model(small, data, task_of(toy), Recipe(3, 0.05, "sgd", 1e-2, 2), seed=0)
    assert not torch.equal(outputs(name, small), start)
    copied = copy.deepcopy(small)
    other = compressed("random", name)
    other.load_state_dict(small.state_dict())
    for tuned in (small, copied, other):
        assert left(tuned) == budget
        assert torch.equal(outputs(name, tuned), outputs(name, small))
        for n, mask in masks.items():
            layer = tuned.get_submodule(n)
            assert torch.equal(layer.weight_mask, mask) and not layer.weight[~mask].any()
    plain = materialise(small)
    assert not any(isinstance(m, MaskedWeight) for m in plain.modules())
    assert torch.equal(outputs(name, plain), outputs(name, small))


@pytest.mark.parametrize("name", ["tied_decoder", "tied_layers", "shared_module"])
@pytest.mark.parametrize("method", ["magnitude", "movement", "lottery", "stable_rps"])
def test_ties_stay_tied(method, name):
    small = compressed(method, name)
    root = small.skeleton if isinstance(small, SharedModel) else small
    if name == "tied_decoder":
        first, second = root.embedding, root.decoder
    elif name == "tied_layers":
        first, second = root.layers
    else:
        first, second = root.blocks[0][0], root.again
        assert first is second is root.blocks[1][0]
    if isinstance(small, SharedModel):
        weights = small.virtual_weights()
        assert parameters(small) == round(parameters(ZOO[name].factory()) / 1.3)
        if name == "tied_decoder":
            assert torch.equal(weights["embedding.weight"], weights["decoder.weight"])
        return
    assert first._parameters["weight"] is second._parameters["weight"]
    assert first.weight_mask is second.weight_mask


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("method", SHARING)
def test_sharing_meets_the_budget_and_starts_near_the_model(method, name):
    model = ZOO[name].factory()
    before = copy.deepcopy(model.state_dict())
    small = compressed(method, name, model=model)
    assert parameters(small) == round(parameters(model) / 1.3)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert outputs(name, small).shape == outputs(name, model).shape
    # The map from z is linear and z its least squares: nearer than zeros.
    for weight_name, weight in small.virtual_weights().items():
        dense = model.get_parameter(weight_name)
        assert weight.shape == dense.shape
    joint = torch.cat([w.flatten() for w in small.virtual_weights().values()])
    dense = torch.cat([model.get_parameter(n).flatten() for n in small.virtual_weights()])
    assert (joint - dense).norm() < 0.95 * dense.norm()
    assert torch.allclose(outputs(name, materialise(small)), outputs(name, small), atol=1e-5)
    tuned = ZOO[name]
    data = InMemory(tuned.inputs, tuned.targets())
    train_model(small, data, task_of(tuned), Recipe(1, 1e-3, batch_size=2), seed=0)


def test_sharing_leaves_alone_what_it_cannot_share():
    net = nn.Sequential(nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 4))
    nn.init.zeros_(net[1].weight)
    with pytest.warns(LeftAlone, match=r"1\.weight: its entries are all alike, left dense"):
        small = load_method("roast")(net, ratio=1.2, seed=0)
    assert parameters(small) == round(parameters(net) / 1.2)
    assert [slot.name for slot in small.slots] == ["0.weight", "2.weight"]


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("method", FACTORS)
def test_factors_meet_the_budget_and_train(method, name):
    toy = ZOO[name]
    model = toy.factory()
    budget = round(parameters(model) / 1.12)
    try:
        small = compressed(method, name, 1.12)
    except CannotTreat as reason:
        kinds = nn.Conv1d | nn.Conv2d
        assert method == "tucker" and "no layer that can be factored" in str(reason)
        assert not any(isinstance(m, kinds) for m in model.modules())
        return
    assert parameters(small) <= budget
    assert any(isinstance(m, nn.Sequential) for m in small.modules())
    start = outputs(name, small)
    assert start.shape == outputs(name, model).shape
    data = InMemory(toy.inputs, toy.targets())
    train_model(small, data, task_of(toy), Recipe(1, 1e-2, batch_size=2), seed=0)
    assert not torch.equal(outputs(name, small), start)
    assert torch.equal(outputs(name, copy.deepcopy(small)), outputs(name, small))


@pytest.mark.parametrize("method", [*MASKS, *SHARING])
def test_a_seed_gives_one_model(method):
    torch.manual_seed(1)
    first = compressed(method, "conv_bn")
    torch.manual_seed(2)
    second = compressed(method, "conv_bn")
    for (key, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), key


@pytest.mark.parametrize("method", ["snip", "grasp", "synflow", "movement"])
def test_scores_reach_no_unused_weight(method):
    small = compressed(method, "unused", 2)
    assert isinstance(small.unused, MaskedWeight)
    if method in ("snip", "synflow"):
        assert not small.unused.weight_mask.any()
