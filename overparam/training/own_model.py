"""The user's own model: made by a factory, fitted with weights, checked on a batch."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from overparam.datasets import Batches, Inputs
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
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError(
            f"model {factory!r} gave a scripted or traced module, whose layers can't be changed; "
            "allowed: the torch.nn.Module that it was made of"
        )
    if next(model.parameters(), None) is None:
        raise ValueError(f"model {factory!r} has no parameters")
    if weights is not None:
        load_weights(model, weights)
    return model.eval()


def check_model(model: nn.Module, task: Task, data: Batches) -> None:
    """Try the model on a few samples: does it take them, and give what the task needs?

    Lazy layers get their sizes and first weights by that, the same ones every time.

    Raises:
        ValueError: the model raises on a batch (the inputs' shapes are given), or its outputs have
            the wrong shape (expected and got) or are not finite.
    """
    inputs, targets = data.take(TRIED)
    try:
        with evaluating(model), torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            outputs = task.outputs(model, inputs)
    except Exception as error:
        raise ValueError(
            f"the model raises on a batch of {_shapes(inputs)}{_place(model, task, inputs)}: "
            f"{type(error).__name__}: {error}"
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


def _place(model: nn.Module, task: Task, inputs: Inputs) -> str:
    """In which layer the model raises, and what that gets; found by running it again."""
    entered: list[tuple[str, nn.Module, object]] = []
    # It raises as before: that is what is looked at.
    with suppress(Exception), evaluating(model), torch.no_grad(), _watched(model, entered):
        task.outputs(model, inputs)
    if not entered or not entered[-1][0]:
        return ""
    name, layer, given = entered[-1]
    advice = (
        "; --no-standardize keeps whole numbers as they are"
        if isinstance(layer, nn.Embedding)
        and isinstance(given, Tensor)
        and given.is_floating_point()
        else ""
    )
    return f", in {name}, {_layer(layer)}, which gets {_shapes(given)}{advice}"


@contextmanager
def _watched(model: nn.Module, entered: list[tuple[str, nn.Module, object]]) -> Iterator[None]:
    """Keep the modules that are running, with what each was given first, the innermost last."""
    handles = []
    for name, module in model.named_modules():

        def enter(
            _: nn.Module, args: tuple[Any, ...], name: str = name, of: nn.Module = module
        ) -> None:
            entered.append((name, of, args[0] if args else None))

        def leave(*_: object) -> None:
            entered.pop()

        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _layer(module: nn.Module) -> str:
    """A layer as torch writes it; of one with layers inside, its name alone."""
    return type(module).__name__ if list(module.children()) else repr(module)


def _shapes(inputs: object) -> str:
    if isinstance(inputs, Tensor):
        return f"shape {tuple(inputs.shape)} ({inputs.dtype})"
    if isinstance(inputs, dict):
        return ", ".join(f"{name} {tuple(value.shape)}" for name, value in inputs.items())
    if isinstance(inputs, tuple):
        return ", ".join(str(tuple(value.shape)) for value in inputs)
    return type(inputs).__name__
