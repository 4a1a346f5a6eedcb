"""Compressors by name: built in, from an entry point, from a user's file."""

from importlib.metadata import EntryPoint

import pytest
import torch
from torch import nn

from overparam.compress import CannotTreat, compressor, kept_weights, load_method, method_names
from overparam.compress import registry as module
from overparam.compress.registry import method_place


def test_every_built_in_method_loads_and_says_what_it_does():
    for name in method_names():
        method = load_method(name)
        assert method.function.__name__ == name
        assert method.summary.endswith(".") and set(method.needs) <= set(module.HANDED_IN)


def test_a_method_gets_what_it_asks_for_and_nothing_else():
    @compressor("Halves.")
    def halves(model, *, seed, ratio):
        return model, seed, ratio

    method = halves.compressor
    assert method.needs == ("seed", "ratio") and method.finetune
    assert method("net", ratio=2, seed=3, bits=8, data=None) == ("net", 3, 2)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ("", "must take the model first"),
        ("*, ratio", "must take the model first"),
        ("model, ratio", "parameter 'ratio'"),
        ("model, *, speed", "parameter 'speed'"),
        ("model, **options", "parameter 'options'"),
    ],
)
def test_a_signature_that_could_not_be_filled_is_refused(parameters, words):
    scope = {}
    exec(f"def odd({parameters}): ...", scope)  # noqa: S102
    with pytest.raises(TypeError, match=words):
        compressor("Odd.")(scope["odd"])


def test_an_unknown_name_gives_the_nearest():
    with pytest.raises(ValueError, match=r"unknown method 'magnitud'; did you mean magnitude"):
        load_method("magnitud")


@pytest.fixture
def own_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from overparam.compress import compressor\n"
        "@compressor('Zeroes everything.', finetune=False)\n"
        "def zeroed(model, *, seed):\n"
        "    for p in model.parameters():\n"
        "        p.data.zero_()\n"
        "    return model\n"
        "def plain(model):\n"
        "    return model\n"
    )
    return file


def test_a_users_file_is_a_method(own_file):
    method = load_method(f"+{own_file}:zeroed")
    assert not method.finetune and method.needs == ("seed",)
    assert not method(nn.Linear(2, 2), seed=0).weight.any()


def test_a_function_without_the_mark_is_refused(own_file):
    with pytest.raises(ValueError, match="not marked by @compressor"):
        load_method(f"+{own_file}:plain")


def test_an_entry_point_adds_a_method(own_file, monkeypatch, request):
    point = EntryPoint("zeroed", f"{own_file}:zeroed", module.GROUP)
    monkeypatch.setattr(module, "entry_points", lambda group: [point])
    module._added.cache_clear()
    request.addfinalizer(module._added.cache_clear)
    assert "zeroed" in method_names()
    assert method_place("zeroed") == f"{own_file}:zeroed"
    assert load_method("zeroed").summary == "Zeroes everything."


def test_the_budget_of_masks_counts_all_parameters():
    net = nn.Sequential(nn.Linear(10, 10), nn.BatchNorm1d(10), nn.Linear(10, 2))
    total = sum(p.numel() for p in net.parameters())
    assert total == 152
    assert kept_weights(net, 2) == 76 - 32
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    assert kept_weights(tied, 1.5) == 16 - 8


def test_a_ratio_that_biases_alone_exceed():
    with pytest.raises(CannotTreat, match="ratio 50 leaves 3 of 152 parameters, but 32"):
        kept_weights(nn.Sequential(nn.Linear(10, 10), nn.BatchNorm1d(10), nn.Linear(10, 2)), 50)


@pytest.mark.parametrize("ratio", [1, 0.5, float("nan")])
def test_a_ratio_of_at_most_one_is_refused(ratio):
    with pytest.raises(ValueError, match="allowed > 1"):
        kept_weights(nn.Linear(2, 2), ratio)


def test_a_method_leaves_the_model_as_it_was():
    """(Here for the smallest model; the methods' own tests go through the zoo.)"""
    net = nn.Linear(8, 8)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    load_method("magnitude")(net, ratio=2)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
