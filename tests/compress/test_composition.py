"""Methods one after the other: what a text means, and in what order things happen."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from overparam.compress import composition as module
from overparam.compress import masks_of
from overparam.compress.composition import composition
from overparam.compress.quantised_weight import QuantisedWeight
from overparam.datasets import InMemory
from overparam.models import MLP, seeded
from overparam.training import Recipe, Task

TASK = Task("classification", ("a", "b", "c"))


def net():
    return seeded(lambda: MLP((4, 16, 3)), 0)


def data():
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    return InMemory(x, x[:, :3].argmax(1))


def compressed(text, *, ratio=2.0, bits=None, epochs=1):
    return composition(text)(
        net(),
        ratio=ratio,
        bits=bits,
        data=data(),
        validation=None,
        task=TASK,
        recipe=Recipe(epochs, 0.01),
        anew=Recipe(7, 0.01),
        initial=net(),
        seed=0,
    )


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("magnitude", [("magnitude", None)]),
        ("int8", [("nearest", 8)]),
        ("int", [("nearest", None)]),
        ("gptq4", [("gptq", 4)]),
        ("nearest_group_4", [("nearest_group", 4)]),
        ("magnitude+distill+int4", [("magnitude", None), ("distill", None), ("nearest", 4)]),
    ],
)
def test_texts(text, parts):
    assert [(part.name, part.bits) for part in composition(text).parts] == parts


@pytest.mark.parametrize(
    ("text", "knobs"),
    [
        ("magnitude", (True, False, None, True)),
        ("int", (False, True, None, False)),
        ("int8", (False, False, 8, False)),
        ("random", (True, False, None, True)),
        ("magnitude+int", (True, True, None, True)),
        ("magnitude+int8", (True, False, 8, True)),
    ],
)
def test_what_is_spread_over(text, knobs):
    made = composition(text)
    assert (made.takes_ratio, made.takes_bits, made.fixed_bits, made.repeats) == knobs


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "unknown method|empty part"),
        ("magnitude+", "empty part"),
        ("magnitud", "did you mean magnitude"),
        ("int9", "9 bits; allowed 2 to 8"),
        ("magnitude4", "magnitude takes no bits"),
        ("distill", "distill must follow"),
        ("int8+distill", "distill must follow"),
        ("magnitude+snip", "magnitude and snip both ask for ratio"),
        ("int8+gptq", "nearest and gptq both ask for bits"),
    ],
)
def test_texts_that_mean_nothing(text, words):
    with pytest.raises(ValueError, match=words):
        composition(text)


def test_places_are_those_of_the_methods():
    assert composition("magnitude+distill+int8").places == (
        "overparam.compress.methods.magnitude:magnitude",
        "overparam.compress.methods.nearest:nearest",
    )


@pytest.fixture
def trainings(monkeypatch):
    """Who taught each training, in order."""
    seen = []

    def recorded(model, *words, teacher, **options):
        seen.append((type(model).__name__, teacher is not None))

    monkeypatch.setattr(module, "train_model", recorded)
    return seen


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("magnitude", [False]),
        ("magnitude+distill", [True]),
        ("magnitude+int8", [False]),
        ("magnitude+distill+int8", [True]),
        ("int8", []),
    ],
)
def test_a_result_is_tuned_before_the_next_method_and_at_the_end(trainings, text, expected):
    compressed(text)
    assert [taught for _, taught in trainings] == expected


def test_no_epochs_tune_nothing(trainings):
    compressed("magnitude", epochs=0)
    assert trainings == []


def test_zeros_survive_tuning_and_quantisation():
    pruned = compressed("magnitude", ratio=4.0)
    masks = masks_of(pruned)
    packed = compressed("magnitude+int8", ratio=4.0)
    layers = [layer for layer in packed.modules() if isinstance(layer, QuantisedWeight)]
    assert len(layers) == 2 and {layer.bits for layer in layers} == {8}
    for layer, mask in zip(layers, masks.values(), strict=True):
        assert not layer.weight[~mask].any()
    total = sum(p.numel() for p in net().parameters())
    biases = 16 + 3
    assert sum(int(mask.sum()) for mask in masks.values()) == round(total / 4) - biases


def test_the_model_handed_in_is_not_changed():
    model = net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    composition("magnitude+distill+int8")(
        model, ratio=2, bits=None, data=data(), validation=data(), task=TASK,
        recipe=Recipe(2, 0.01), anew=Recipe(2, 0.01), initial=model, seed=0,
    )  # fmt: skip
    assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())


def test_a_method_that_trains_anew_gets_the_recipe_of_the_dense_training(monkeypatch):
    seen = {}
    load = module.load_method

    def loaded(name):
        def kept(net, **given):
            seen[name] = given["recipe"]
            return net

        return replace(load(name), function=kept)

    monkeypatch.setattr(module, "load_method", loaded)
    for name in ("lottery", "movement"):
        compressed(name)
    assert seen == {"lottery": Recipe(7, 0.01), "movement": Recipe(1, 0.01)}


def test_shared_parameters_learn_by_scaled_gradients(monkeypatch):
    attached = []
    monkeypatch.setattr(
        module, "attach_gradient_scaling", lambda optimizer, model: attached.append(model)
    )
    compressed("stable_rps")
    compressed("magnitude")
    assert len(attached) == 1 and isinstance(attached[0], nn.Module)
