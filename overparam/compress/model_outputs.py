"""What a model gives, whatever it gives it in, and whether two models give the same."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from overparam.datasets import Inputs
from overparam.training.task import Task, call_model

SLACK = 2000
"""Allowed difference, in units of the precision of the outputs' largest entry."""


def tensors_in(given: Any, *, inside: frozenset[int] = frozenset()) -> Iterator[Tensor]:
    """All tensors in nested tuples, lists, mappings and objects that hold values by name.

    Args:
        given: what a model gives.
        inside: ids of what holds it, which it may point back at.
    """
    if isinstance(given, Tensor):
        yield given
        return
    if isinstance(given, nn.Module | type) or id(given) in inside:
        return
    if isinstance(given, Mapping):
        parts = list(given.values())
    elif isinstance(given, tuple | list):
        parts = list(given)
    else:
        parts = list(getattr(given, "__dict__", {}).values())
    for part in parts:
        yield from tensors_in(part, inside=inside | {id(given)})


def run_task(model: nn.Module, inputs: Inputs, task: Task | None) -> Any:
    """What the model gives for ``inputs``, before it is unwrapped."""
    if task is not None and task.forward is not None:
        return task.forward(model, inputs)
    return call_model(model, inputs)


def outputs_of(model: nn.Module, inputs: Inputs, task: Task | None) -> list[Tensor]:
    """All tensors that the model gives, with gradients on: torch's fused layers stay off."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        return [output.detach() for output in tensors_in(run_task(model, inputs, task))]


def compare_outputs(given: list[Tensor], expected: list[Tensor]) -> str:
    """How outputs differ from what is expected; empty if they do not."""
    shapes = [tuple(output.shape) for output in given], [tuple(e.shape) for e in expected]
    if shapes[0] != shapes[1]:
        return f"the outputs' shapes change from {shapes[1]} to {shapes[0]}"
    for output, wanted in zip(given, expected, strict=True):
        if not output.is_floating_point():
            continue
        scale = max(float(wanted.abs().max()), 1e-3) if wanted.numel() else 1.0
        gap = float((output - wanted).abs().max()) if wanted.numel() else 0.0
        if not gap <= SLACK * torch.finfo(output.dtype).eps * scale:
            return f"the outputs differ from those with zeros in their place by {gap:.2g}"
    return ""
