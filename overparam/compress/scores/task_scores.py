"""SNIP, GraSP and SynFlow of models whose inputs, outputs and loss a task describes.

The formulas are those of :mod:`overparam.compress.scores.snip`, ``grasp`` and ``synflow``; inputs
may be tensors, tuples or dicts, the loss any mean over samples, and gradients are summed over
batches, so that memory holds the graph of one. The model is in eval mode while it is scored.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from overparam.compress.masks import Masks
from overparam.compress.prune_iterative import prune_iterative
from overparam.compress.scores.view import WeightView, scoring_mode, weight_view
from overparam.compress.single_names import single_names
from overparam.datasets import Inputs
from overparam.datasets.batches import each_part, parts_of
from overparam.training import Task

Batch = tuple[Inputs, Tensor]
Change = Callable[[Tensor], Tensor]


def task_score_snip(model: nn.Module, batches: Sequence[Batch], task: Task) -> dict[str, Tensor]:
    r"""Connection sensitivity :math:`|w \, \partial L / \partial w|`, L the mean over all batches.

    Args:
        model: not changed.
        batches: inputs and targets.
        task: how inputs reach the model, and its loss.

    Returns:
        Scores by weight name, of the weights' shapes; a weight that the loss does not reach scores
        0.

    Raises:
        ValueError: no batches.
        TypeError, ValueError: the model has no compressible weight.
    """
    view = _view(model)
    with scoring_mode(model, evaluate=True):
        gradients = _gradient(view, batches, task)
    return {name: (g * view.weights[name]).abs() for name, g in gradients.items()}


def task_score_grasp(
    model: nn.Module, batches: Sequence[Batch], task: Task, *, temperature: float = 200.0
) -> dict[str, Tensor]:
    r"""Gradient-flow score :math:`w \, (H g)`, the largest kept; g and H over all batches.

    Hg takes two passes over the batches: g is summed first, then :math:`H_b g` is the gradient of
    :math:`g_b^T g` with the second g fixed.

    Args:
        model: not changed.
        batches: inputs and targets.
        task: how inputs reach the model, and its loss.
        temperature: divisor of the outputs, 200 in the paper's code, for classifications; the
            outputs of a regression are not divided.

    Returns:
        Signed scores by weight name, of the weights' shapes.

    Raises:
        ValueError: no batches, temperature <= 0.
        RuntimeError: an operation of the model has no second derivative.
        TypeError, ValueError: the model has no compressible weight.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; allowed > 0")
    view = _view(model)
    tempered = _tempered(task, temperature) if task.kind == "classification" else task
    products = {name: torch.zeros_like(w) for name, w in view.weights.items()}
    # The fused kernels of attention have no second derivative.
    with scoring_mode(model, evaluate=True), sdpa_kernel(SDPBackend.MATH):
        gradients = _masked(view, _gradient(view, batches, tempered))
        for share, inputs, targets in _shares(batches):
            weights = _leaves(view)
            loss = share * _loss(view, weights, tempered, inputs, targets)
            flow = torch.autograd.grad(
                loss, list(weights.values()), create_graph=True, materialize_grads=True
            )
            inner = torch.stack(
                [(g * gradients[name]).sum() for name, g in zip(weights, flow, strict=True)]
            ).sum()
            for name, hg in zip(
                weights,
                torch.autograd.grad(inner, list(weights.values()), materialize_grads=True),
                strict=True,
            ):
                products[name] += hg
    return {name: hg * view.weights[name] for name, hg in products.items()}


def task_synflow_masks(
    model: nn.Module, inputs: Inputs, task: Task, *, count: int, rounds: int = 100
) -> Masks:
    """The SynFlow algorithm (:func:`synflow_masks`) on inputs of ones.

    Inputs that are no floating numbers (tokens, their masks) stay as they are: the flow enters at
    the embeddings' rows that they name. Where all inputs are floating, one sample of ones does.

    Args:
        model: not changed.
        inputs: example inputs.
        task: how inputs reach the model.
        count: weights kept.
        rounds: number of iterations.

    Raises:
        ValueError: ``count`` or ``rounds`` out of range, or the double-precision pass gives NaN or
            infinity.
        RuntimeError: an operation of the model does not work in double precision.
        TypeError, ValueError: the model has no compressible weight.
    """
    view = _view(model)
    view = replace(view, weights={name: w.double().abs() for name, w in view.weights.items()})
    ones = _ones(inputs)

    def scorer(model: Any, *, masks: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        return _synaptic_flow(view.under(masks or {}), ones, task)

    distinct = single_names(model).emptied(model)
    return prune_iterative(distinct, scorer, rounds=rounds, count=count)


class _Step(nn.Module):
    """A model with what happens to its outputs, as one module for ``functional_call``."""

    def __init__(self, model: nn.Module, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model, self.function = model, function

    def forward(self, *arguments: Any) -> Tensor:
        return self.function(self.model, *arguments)


def _at(
    view: WeightView,
    weights: Mapping[str, Tensor],
    function: Callable[..., Tensor],
    *arguments: Any,
    change: Change = lambda tensor: tensor,
) -> Tensor:
    """``function(model, *arguments)`` at these weights; the model's own stay untouched."""
    assert isinstance(view.model, nn.Module)
    names = {id(p): name for name, p in view.model.named_parameters()}
    state = {}
    # One name per module and tensor: a module that functional_call meets under two names would keep
    # what was swapped in. Tied tensors are in several modules, and each gets the same.
    for path, module in view.model.named_modules(prefix="model"):
        for leaf, p in module.named_parameters(recurse=False):
            name = names[id(p)]
            state[f"{path}.{leaf}"] = weights[name] if name in weights else change(p.detach())
        for leaf, b in module.named_buffers(recurse=False):
            moved = change(b) if b.is_floating_point() else b
            state[f"{path}.{leaf}"] = moved.clone()
    return functional_call(_Step(view.model, function), state, arguments, tie_weights=False)


def _view(model: nn.Module) -> WeightView:
    """Weights by their first names, passes through the model with all of its modules in place."""
    return replace(weight_view(single_names(model).emptied(model)), model=model)


def _loss(
    view: WeightView, weights: Mapping[str, Tensor], task: Task, inputs: Inputs, targets: Tensor
) -> Tensor:
    return _at(view, weights, task.loss_of, inputs, targets)


def _leaves(view: WeightView) -> dict[str, Tensor]:
    return {name: w.clone().requires_grad_() for name, w in view.weights.items()}


def _shares(batches: Sequence[Batch]) -> list[tuple[float, Inputs, Tensor]]:
    """The batches with their shares of all samples."""
    if not batches:
        raise ValueError("batches is empty; scores need at least one")
    total = sum(len(targets) for _, targets in batches)
    return [(len(targets) / total, inputs, targets) for inputs, targets in batches]


def _gradient(view: WeightView, batches: Sequence[Batch], task: Task) -> dict[str, Tensor]:
    summed = {name: torch.zeros_like(w) for name, w in view.weights.items()}
    for share, inputs, targets in _shares(batches):
        weights = _leaves(view)
        loss = share * _loss(view, weights, task, inputs, targets)
        parts = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
        for name, part in zip(weights, parts, strict=True):
            summed[name] += part
    return summed


def _masked(view: WeightView, gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: torch.where(view.masks[name], g, 0.0) if name in view.masks else g
        for name, g in gradients.items()
    }


def _tempered(task: Task, temperature: float) -> Task:
    return replace(task, loss=lambda outputs, targets: task.loss_at(outputs / temperature, targets))


def _ones(inputs: Inputs) -> Inputs:
    parts = parts_of(inputs)
    samples = 1 if all(part.is_floating_point() for part in parts) else len(parts[0])

    def change(part: Tensor) -> Tensor:
        first = part[:samples]
        return torch.ones_like(first, dtype=torch.float64) if first.is_floating_point() else first

    return each_part(inputs, change)


def _synaptic_flow(view: WeightView, ones: Inputs, task: Task) -> dict[str, Tensor]:
    weights = _leaves(view)
    assert isinstance(view.model, nn.Module)
    with scoring_mode(view.model, evaluate=True):
        outputs = _at(view, weights, task.outputs, ones, change=lambda t: t.double().abs())
        if not bool(outputs.isfinite().all()):
            raise ValueError(
                "SynFlow's output is NaN or infinite in double precision with absolute parameters "
                "and inputs of ones"
            )
        gradients = torch.autograd.grad(
            outputs.sum(), list(weights.values()), materialize_grads=True
        )
    scores = {
        name: (g * view.weights[name]).abs_() for name, g in zip(weights, gradients, strict=True)
    }
    for name, score in scores.items():
        if not bool(score.amax().isfinite()):
            raise ValueError(f"SynFlow's scores of {name!r} are not finite in double precision")
    return scores
