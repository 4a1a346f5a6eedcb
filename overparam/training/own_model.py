"""The user's own model: made by a factory, fitted with weights, checked on a batch."""

from pathlib import Path

import torch
from torch import Tensor, nn

from overparam.datasets import Batches
from overparam.models import seeded
from overparam.models.user_weights import load_weights
from overparam.study.loading import load_object
from overparam.training.evaluating import evaluating
from overparam.training.task import Task

TRIED = 4
"""Samples on which a model is tried."""


def build_model(factory: str, *, seed: int = 0, weights: str | Path | None = None) -> nn.Module:
    """Make a model.

    Args:
        factory: ``path/to/file.py:callable`` or ``package.module:callable``, called without
            arguments. Loading it runs that code.
        seed: of its initialisation.
        weights: a file to load, see :func:`overparam.models.load_weights`.

    Returns:
        A module in eval mode.

    Raises:
        ValueError: there is no such callable, it raises, it gives no ``nn.Module`` or one without
            parameters, or the weights don't fit.
        ImportError: the file or module does not import.
    """
    make = load_object(factory)
    if not callable(make):
        raise ValueError(f"model {factory!r} is a {type(make).__name__}, not callable")
    try:
        model = seeded(make, seed)
    except Exception as error:
        raise ValueError(f"model {factory!r} raised {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"model {factory!r} gave a {type(model).__name__}; allowed: a torch.nn.Module"
        )
    if next(model.parameters(), None) is None:
        raise ValueError(f"model {factory!r} has no parameters")
    if weights is not None:
        load_weights(model, weights)
    return model.eval()


def check_model(model: nn.Module, task: Task, data: Batches) -> None:
    """Try the model on a few samples: does it take them, and give what the task needs?

    Raises:
        ValueError: the model raises on a batch (the inputs' shapes are given), or its outputs have
            the wrong shape (expected and got) or are not finite.
    """
    inputs, targets = data.take(TRIED)
    try:
        with evaluating(model), torch.no_grad():
            outputs = task.outputs(model, inputs)
    except Exception as error:
        raise ValueError(
            f"the model raises on a batch of {_shapes(inputs)}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(outputs, Tensor):
        raise ValueError(f"the model gives a {type(outputs).__name__}; a tensor is needed")
    if task.kind == "classification":
        expected = f"({len(targets)}, {len(task.classes)})"
        fits = tuple(outputs.shape) == (len(targets), len(task.classes))
    else:
        expected = f"{tuple(targets.shape)}"
        fits = outputs.numel() == targets.numel()
    if not fits:
        raise ValueError(
            f"the model gives outputs of shape {tuple(outputs.shape)} for {_shapes(inputs)}; "
            f"expected {expected}"
            + (f" for {len(task.classes)} classes" if task.kind == "classification" else "")
        )
    if not bool(outputs.isfinite().all()):
        raise ValueError("the model's outputs are not finite on the first samples")


def _shapes(inputs: object) -> str:
    if isinstance(inputs, Tensor):
        return f"shape {tuple(inputs.shape)} ({inputs.dtype})"
    if isinstance(inputs, dict):
        return ", ".join(f"{name} {tuple(value.shape)}" for name, value in inputs.items())
    if isinstance(inputs, tuple):
        return ", ".join(str(tuple(value.shape)) for value in inputs)
    return type(inputs).__name__
