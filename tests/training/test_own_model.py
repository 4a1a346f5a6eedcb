"""The user's model: files that don't import, and models that don't fit, told by place and shape."""

import pytest
import torch
from torch import nn

from overparam.datasets import InMemory
from overparam.models.user_weights import read_state_dict
from overparam.training import Task
from overparam.training.own_model import build_model, check_model
from overparam.training.own_task import chosen_task

TWO = Task("classification", ("a", "b"))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("x = 1\ny = z\n", "does not import: NameError: name 'z' is not defined (line 2)"),
        ("def make(:\n", "does not import: SyntaxError"),
        ("import nosuchpackage\n", "does not import: ModuleNotFoundError: No module named 'nosuch"),
        ("import sys\nsys.exit(3)\n", "does not import: SystemExit: 3 (line 2)"),
        ("raise ValueError('odd')\n", "does not import: ValueError: odd (line 1)"),
    ],
)  # fmt: skip
def test_code_that_does_not_import_is_named_with_the_line(tmp_path, code, words):
    file = tmp_path / "net.py"
    file.write_text(code)
    for load in (build_model, lambda value: chosen_task(value, "regression", ())):
        with pytest.raises(ImportError) as caught:
            load(f"{file}:make")
        assert str(caught.value).startswith(f"{file} {words}")


def test_a_module_that_is_missing_is_named():
    with pytest.raises(ImportError, match=r"no\.such does not import: .*No module named 'no'"):
        build_model("no.such:make")


def refused(model, inputs, task=TWO):
    with pytest.raises(ValueError) as caught:
        check_model(model, task, InMemory(inputs, torch.tensor([0, 1, 0])))
    return str(caught.value)


def test_the_layer_that_does_not_fit_is_named():
    net = nn.Sequential(nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 2))
    text = refused(net, torch.zeros(3, 6))
    assert text.startswith(
        "the model raises on a batch of shape (3, 6) (torch.float32), in 0, "
        "Linear(in_features=9, out_features=8, bias=True), which gets shape (3, 6)"
    )
    inner = nn.Sequential(nn.Linear(6, 4), nn.Sequential(nn.ReLU(), nn.Linear(5, 2)))
    assert ", in 1.1, Linear(in_features=5" in refused(inner, torch.zeros(3, 6))
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in inner.modules())


def test_tokens_that_were_scaled_are_explained():
    net = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(12, 2))
    assert "--no-standardize keeps whole numbers" in refused(net, torch.zeros(3, 3))
    check_model(net, TWO, InMemory(torch.zeros(3, 3, dtype=torch.long), torch.tensor([0, 1, 0])))


def test_a_model_that_is_called_otherwise():
    text = refused(nn.Linear(2, 2), {"left": torch.zeros(3, 2)})
    assert text.startswith("the model raises on a batch of left (3, 2): TypeError")


def test_pickled_models_are_refused_in_few_words(tmp_path):
    file = tmp_path / "net.pt"
    torch.save(nn.Sequential(nn.Linear(2, 2)), file)
    with pytest.raises(ValueError) as caught:
        read_state_dict(file)
    assert str(caught.value) == (
        f"{file} can't be read with weights_only=True (it holds a "
        "torch.nn.modules.container.Sequential, an object and no tensor); save model.state_dict() "
        "alone"
    )
