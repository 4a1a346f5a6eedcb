"""Models that use a module again, with one name per weight and back."""

import copy

from torch import nn
from toys.model_zoo import ZOO

from overparam.compress import compressible_weights
from overparam.compress.single_names import single_names


def test_a_model_without_repeated_modules_is_itself():
    model = ZOO["residual"].factory()
    names = single_names(model)
    assert names.places == () and names.emptied(model) is model


def test_first_names_are_torchs_and_places_are_found():
    model = ZOO["shared_module"].factory()
    names = single_names(model)
    assert names.places == (("blocks", "1", "blocks.0"), ("", "again", "blocks.0.0"))
    emptied = names.emptied(model)
    assert [n for n, _ in emptied.named_parameters()] == [n for n, _ in model.named_parameters()]
    assert [slot.aliases for slot in compressible_weights(emptied)] == [
        ("blocks.0.0.weight",), ("head.weight",)
    ]  # fmt: skip
    assert model.again is not None and emptied.again is None
    filled = names.fill(emptied)
    assert filled.again is filled.blocks[1][0] is filled.blocks[0][0] is not model.again


def test_a_module_inside_itself_by_another_name():
    inner = nn.Sequential(nn.Linear(2, 2))
    outer = nn.ModuleDict({"a": nn.ModuleList([inner, inner[0]]), "b": inner})
    names = single_names(outer)
    assert names.places == (("a", "1", "a.0.0"), ("", "b", "a.0"))
    again = names.fill(names.empty(copy.deepcopy(outer)))
    assert again["b"] is again["a"][0] and again["a"][1] is again["b"][0]
