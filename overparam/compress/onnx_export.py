"""A compressed model as an ONNX file with a free batch size, checked by onnxruntime."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from overparam.compress.materialise import materialise
from overparam.compress.model_outputs import tensors_in
from overparam.compress.quantised_weight import dequantise
from overparam.datasets import Inputs
from overparam.datasets.batches import each_part, parts_of
from overparam.errors import MissingExtra
from overparam.training.task import call_model

FILE = "model.onnx"
BATCH_SIZES = (1, 3, 64)
TRACED = 3
"""Samples that the model is traced with: not 1, which tracing takes for a constant."""

TOLERANCE = 1e-4
PACKAGES = ("onnx", "onnxruntime", "onnxscript")


@dataclass(frozen=True)
class OnnxExport:
    """What came of an export.

    Attributes:
        path: the file, or ``None`` where the model can't be exported.
        difference: the largest of the outputs' differences from torch, relative to the largest
            output where that is above 1.
        notes: why there is no file.
    """

    path: Path | None
    difference: float
    notes: list[str]


def export_onnx(
    model: nn.Module,
    example: Inputs,
    folder: Path,
    *,
    call: Callable[[nn.Module, Inputs], Any] = call_model,
) -> OnnxExport:
    """Write ``model.onnx`` and compare it with the model at batch sizes 1, 3 and 64.

    Weights are written in their floating type, zeros and all: neither sparse nor packed.

    Args:
        model: plain, masked, quantised or shared; not changed.
        example: some samples: a tensor, a tuple, or a dict by the names of the model's arguments.
        folder: made if missing.
        call: what the file computes of the inputs, e.g. ``task.outputs``; a tensor, or several in
            tuples, lists and mappings. Where a model gives an object of a class of its own, which
            ONNX can't hold, it takes the tensor out.

    Returns:
        The path; or, for a model that can't be traced or gives other outputs (by more than 1e-4,
        or the square root of the precision of a shorter type) or other shapes at another batch
        size, the reason, and no file.

    Raises:
        MissingExtra: onnx, onnxruntime or onnxscript is not installed; the message is the pip line.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise MissingExtra(f"ONNX needs {', '.join(missing)}: pip install 'overparam[onnx]'")
    plain = materialise(dequantise(model)).eval()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / FILE
    try:
        called = _Called(plain, call, example)
        _write(called, _resized(example, TRACED), file)
        difference = max(_difference(called, _resized(example, n), file) for n in BATCH_SIZES)
    except Exception as error:
        for written in (file, file.with_name(f"{FILE}.data")):
            written.unlink(missing_ok=True)
        return OnnxExport(None, float("nan"), [f"no ONNX file: {_reason(error)}"])
    return OnnxExport(file, difference, [])


class _Called(nn.Module):
    """A model whose forward takes the parts of its inputs one by one and gives what is asked for.

    Args:
        model: that is called.
        call: the inputs, put together again, to outputs.
        example: how the inputs are arranged.
    """

    def __init__(
        self, model: nn.Module, call: Callable[[nn.Module, Inputs], Any], example: Inputs
    ) -> None:
        super().__init__()
        self.model = model

        def forward(*parts: Tensor) -> Any:
            if isinstance(example, dict):
                return call(model, dict(zip(example, parts, strict=True)))
            return call(model, parts if isinstance(example, tuple) else parts[0])

        # torch.export names inputs, and refuses a forward with *parts.
        places = [f"part_{i}" for i, _ in enumerate(parts_of(example))]
        forward.__dict__["__signature__"] = Signature(
            [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in places]
        )
        self.forward = forward


def _write(model: _Called, example: Inputs, file: Path) -> None:
    from torch.export import Dim

    parts = tuple(parts_of(example))
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            model,
            parts,
            dynamic_shapes=tuple({0: Dim("batch")} for _ in parts),
            input_names=_names(example),
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        program.save(str(file))


def _names(example: Inputs) -> list[str]:
    if isinstance(example, dict):
        return list(example)
    parts = parts_of(example)
    return ["input"] if len(parts) == 1 else [f"input_{i}" for i in range(len(parts))]


def _difference(model: _Called, example: Inputs, file: Path) -> float:
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.log_severity_level = 4  # what it warns of, it raises too
    session = InferenceSession(file, options, providers=["CPUExecutionProvider"])
    wanted = {given.name: given.shape for given in session.get_inputs()}
    feed = {
        name: part.numpy()
        for name, part in zip(_names(example), parts_of(example), strict=True)
        if name in wanted
    }
    fixed = [f"{name} {shape}" for name, shape in wanted.items() if isinstance(shape[0], int)]
    if fixed:
        raise ValueError(f"the model fixes the batch size when it is traced: {', '.join(fixed)}")
    with torch.no_grad():
        expected = list(tensors_in(model(*parts_of(example))))
    got = [torch.as_tensor(array) for array in session.run(None, feed)]
    size = len(parts_of(example)[0])
    if [tuple(t.shape) for t in expected] != [tuple(t.shape) for t in got]:
        raise ValueError(
            f"at batch size {size} the file gives outputs of shapes "
            f"{[tuple(t.shape) for t in got]}, the model {[tuple(t.shape) for t in expected]}"
        )
    worst = 0.0
    for one, other in zip(expected, got, strict=True):
        scale = max(1.0, float(one.abs().max()))
        error = float((one.double() - other.double()).abs().max()) / scale
        allowed = max(TOLERANCE, torch.finfo(one.dtype).eps ** 0.5 if one.itemsize < 4 else 0.0)
        if not error < allowed:
            raise ValueError(f"outputs differ by {error:.2g} at batch size {size}")
        worst = max(worst, error)
    return worst


def _resized(example: Inputs, size: int) -> Inputs:
    """As many samples, repeated if need be."""
    return each_part(example, lambda part: part[torch.arange(size) % len(part)])


def _reason(error: BaseException) -> str:
    # The exporter wraps what torch.export says in pages of advice; the cause is what counts.
    while error.__cause__ is not None:
        error = error.__cause__
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}"


@contextmanager
def _quiet() -> Iterator[None]:
    # Warns of torchvision, which is not needed, and of its own deprecations.
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
