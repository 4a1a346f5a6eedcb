"""Serve many tasks from one backbone: every request in a batch gets the pairs of its own task."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from overparam.adapt.attach import attach, detach
from overparam.adapt.operations import linear_of
from overparam.adapt.scale_shift import NAME, ScaleShift, apply_pair, check_channels, pairs
from overparam.adapt.targets import resolve_heads

# Per call and per thread, so that concurrent requests never see each other's task numbers.
_tasks: ContextVar[Tensor] = ContextVar("tasks")


class TaskPairs(nn.Module):
    """The pairs of T tasks at one operation: `y_i = scale[task_i] * x_i + shift[task_i]`.

    Args:
        scale: (T, C).
        shift: (T, C).
        axis: channel axis of the operation's output; the batch is axis 0.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Tensor, shift: Tensor, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift each sample by its own task's pair.

        Raises:
            RuntimeError: axis 0 of x is not the batch, or the channels don't fit.
        """
        tasks = _tasks.get()
        check_channels(x, self.axis, self.scale.shape[1])
        if x.shape[0] != len(tasks):
            raise RuntimeError(
                f"axis 0 must be the {len(tasks)} requests, got shape {tuple(x.shape)}; models "
                "that fold windows into the batch cannot be served by task"
            )
        shape = [1] * x.ndim
        shape[0], shape[self.axis] = len(tasks), self.scale.shape[1]
        return torch.addcmul(self.shift[tasks].view(shape), x, self.scale[tasks].view(shape))


class TaskHeads(nn.Module):
    """The heads of T tasks; logits beyond a task's own classes are minus infinity.

    Args:
        heads: one linear map per task.
    """

    def __init__(self, heads: list[nn.Linear]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)
        self.classes = [head.out_features for head in heads]

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, ..., largest number of classes)."""
        tasks = _tasks.get()
        logits = x.new_full((*x.shape[:-1], max(self.classes)), float("-inf"))
        for task in torch.unique(tasks).tolist():
            rows = tasks == task
            logits[rows, ..., : self.classes[task]] = self.heads[task](x[rows])
        return logits


def apply_heads(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    """Forward hook of the head of a served model."""
    logits: Tensor = module.task_heads(args[0])  # type: ignore[operator]
    return logits


class MultiTask(nn.Module):
    """One frozen backbone with the pairs and heads of several tasks.

    Lian et al. 2022 tune one network per task; merged, each would cost a whole copy. Unmerged, the
    backbone is shared and a task adds O(C) numbers per operation, so requests of different tasks
    share a batch.

    Args:
        models: task name to a model after `inject_ssf`; all with the same base and pairs at the
            same places. Heads may differ in their number of classes.
        head: the head's name, or "auto".

    Raises:
        ValueError: no models; places, channels or base weights differ (the first difference is
            named); the head is no `nn.Linear`.

    Example:
        `server = MultiTask({"parity": a, "inverted": b})`, then
        `logits = server(x, ["parity", "inverted", "parity"])` for three requests.
    """

    def __init__(self, models: Mapping[str, nn.Module], *, head: str = "auto") -> None:
        if not models:
            raise ValueError("models is empty: at least one task is needed")
        super().__init__()
        self.tasks = tuple(models)
        members = list(models.values())
        first = members[0]
        (head_name,) = resolve_heads(first, head)
        heads: list[nn.Linear] = []
        for task, model in models.items():
            _check_same_base(first, model, task, head_name)
            candidate = model.get_submodule(head_name)
            if not isinstance(candidate, nn.Linear):
                raise ValueError(f"{task}: head {head_name!r} is no nn.Linear")
            heads.append(linear_of(candidate.weight, candidate.bias))
        self.model = copy.deepcopy(first).requires_grad_(False).eval()
        every = [pairs(model) for model in members]
        for name, pair in pairs(self.model).items():
            operation = self.model.get_submodule(name)
            detach(operation, NAME, apply_pair)
            scales = torch.stack([_value(p[name], "scale") for p in every])
            shifts = torch.stack([_value(p[name], "shift") for p in every])
            attach(operation, "task_pairs", TaskPairs(scales, shifts, pair.axis), _apply_task_pairs)
        attach(self.model.get_submodule(head_name), "task_heads", TaskHeads(heads), apply_heads)
        self.requires_grad_(False)

    def forward(self, x: Tensor, tasks: Tensor | list[str]) -> Tensor:
        """Return logits (B, largest number of classes) for requests of mixed tasks.

        Args:
            x: (B, ...).
            tasks: B task names, or a LongTensor of positions in `self.tasks`.

        Raises:
            ValueError: not one task per request, or an unknown task.
        """
        if isinstance(tasks, Tensor):
            numbers = tasks.to(x.device)
            if numbers.dtype != torch.long or (
                len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < len(self.tasks)
            ):
                raise ValueError(f"tasks must be long integers in 0..{len(self.tasks) - 1}")
        else:
            unknown = sorted(set(tasks) - set(self.tasks))
            if unknown:
                raise ValueError(f"unknown task {unknown[0]!r}; known: {', '.join(self.tasks)}")
            order = {name: i for i, name in enumerate(self.tasks)}
            numbers = torch.tensor([order[t] for t in tasks], dtype=torch.long, device=x.device)
        if numbers.shape != x.shape[:1]:
            raise ValueError(f"{x.shape[0]} requests need as many tasks, got {len(numbers)}")
        token = _tasks.set(numbers)
        try:
            logits: Tensor = self.model(x)
        finally:
            _tasks.reset(token)
        return logits


def _apply_task_pairs(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    scaled: Tensor = module.task_pairs(output)  # type: ignore[operator]
    return scaled


def _value(pair: ScaleShift, key: str) -> Tensor:
    tensor = getattr(pair, key)
    if tensor is not None:
        return torch.as_tensor(tensor).detach().clone()
    other = pair.shift if key == "scale" else pair.scale
    assert other is not None
    return torch.full_like(other.detach(), 1.0 if key == "scale" else 0.0)


def _check_same_base(first: nn.Module, model: nn.Module, task: str, head: str) -> None:
    ours, theirs = pairs(first), pairs(model)
    if not theirs:
        raise ValueError(f"{task}: the model has no pairs; inject_ssf it first")
    if head in theirs:
        raise ValueError(f"{task}: the head {head!r} has a pair; merge it into the head first")
    if ours.keys() != theirs.keys():
        name = sorted(ours.keys() ^ theirs.keys())[0]
        raise ValueError(f"{task}: only some models have a pair after {name!r}")
    skip = (f"{head}.", *(f"{name}.{NAME}." for name in ours))
    mine, other = first.state_dict(), model.state_dict()
    for key in [*mine, *(other.keys() - mine.keys())]:
        if key.startswith(skip):
            continue
        if key not in mine or key not in other or not torch.equal(mine[key], other[key]):
            raise ValueError(
                f"{task}: {key} differs from the first task's; the base must be shared"
            )
