"""ONNX files give what the model gives, at every batch size; or the reason why there is none."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from toys.model_zoo import ZOO

from overparam.compress import onnx_export, share_parameters
from overparam.compress.masked_weight import mask_weight
from overparam.compress.onnx_export import export_onnx
from overparam.errors import MissingExtra
from overparam.training import Task


def ran(path, feed):
    """What onnxruntime gives, in this test's own words."""
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.as_tensor(session.run(None, feed)[0])


@pytest.mark.parametrize("name", ["conv_bn", "two_inputs", "tuple_inputs"])
def test_tensor_dict_and_tuple_inputs_at_another_batch_size(name, tmp_path):
    toy = ZOO[name]
    net = toy.factory()
    made = export_onnx(net, toy.inputs, tmp_path)
    assert made.notes == [] and made.path == tmp_path / "model.onnx"
    assert 0 <= made.difference < 1e-4
    assert net.training
    if isinstance(toy.inputs, dict):
        feed = {n: torch.cat([x, x]).numpy() for n, x in toy.inputs.items()}
    elif isinstance(toy.inputs, tuple):
        feed = {f"input_{i}": torch.cat([x, x]).numpy() for i, x in enumerate(toy.inputs)}
    else:
        feed = {"input": torch.cat([toy.inputs, toy.inputs]).numpy()}
    expected = toy.call(net.eval()).detach()
    assert torch.allclose(ran(made.path, feed), torch.cat([expected, expected]), atol=1e-4)


def test_masked_and_shared_models_are_written_out(tmp_path):
    toy = ZOO["mlp"]
    net = share_parameters(toy.factory(), 2, seed=0, skip=["3"])
    mask_weight(net.skeleton[3], torch.rand(4, 24) < 0.5)
    made = export_onnx(net, toy.inputs[:1], tmp_path)  # one sample is enough to trace with
    expected = toy.call(net.eval()).detach()
    assert torch.allclose(ran(made.path, {"input": toy.inputs.numpy()}), expected, atol=1e-4)


class DataDependent(nn.Module):
    def forward(self, x):
        return x * 2 if float(x.sum()) > 0 else x


def test_reasons_and_no_file(tmp_path):
    made = export_onnx(DataDependent(), torch.ones(3, 2), tmp_path)
    assert made.path is None and len(made.notes) == 1 and made.notes[0].startswith("no ONNX file: ")
    fixed = ZOO["chunk_split_view"]  # its view(len(x), ...) fixes the batch size in the trace
    made = export_onnx(fixed.factory(), fixed.inputs, tmp_path)
    assert made.path is None and "fixes the batch size when it is traced: input" in made.notes[0]
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_computes_something_else_is_not_kept(tmp_path, monkeypatch):
    def other(model, example, file):
        write(nn.Sequential(model, nn.Hardtanh(0, 0.01)), example, file)

    write = onnx_export._write
    monkeypatch.setattr(onnx_export, "_write", other)
    made = export_onnx(nn.Linear(2, 2), torch.ones(3, 2), tmp_path)
    assert made.path is None and "outputs differ" in made.notes[0]
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'overparam\[onnx\]'"):
        export_onnx(nn.Linear(2, 2), torch.ones(3, 2), tmp_path)


class Named(nn.Module):
    """Gives an object of a class of its own, as models of other packages do."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, left, right=None):
        h = left if right is None else left + right
        return SimpleNamespace(logits=self.head(h), hidden=h)


def test_a_model_that_gives_an_object_is_called_as_the_task_says(tmp_path):
    x = torch.randn(5, 4)
    task = Task("classification", ("a", "b", "c"))
    assert "SimpleNamespace" in export_onnx(Named(), x, tmp_path).notes[0]
    net = Named().eval()
    made = export_onnx(net, {"left": x, "right": x}, tmp_path, call=task.outputs)
    assert made.notes == []
    feed = {"left": x.numpy(), "right": x.numpy()}
    assert torch.allclose(ran(made.path, feed), net(x, x).logits, atol=1e-5)


def test_a_forward_of_the_task_is_part_of_the_file(tmp_path):
    task = Task("regression", forward=lambda net, x: net(x / 255)[:, 0])
    net, x = nn.Linear(4, 3).eval(), 255 * torch.rand(5, 4)
    made = export_onnx(net, x, tmp_path, call=task.outputs)
    assert made.notes == []
    assert torch.allclose(ran(made.path, {"input": x.numpy()}), net(x / 255)[:, 0], atol=1e-5)
