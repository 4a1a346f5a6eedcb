"""What is to be learned from the user's samples, and how well a model has."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import nn

from overparam.datasets import Batches, read_schema
from overparam.store import Tables
from overparam.study.loading import load_object
from overparam.training.outputs import all_outputs
from overparam.training.target_scale import TargetScale, target_scale
from overparam.training.task import Task


def task_source(factory: str | None, datasets: str | None, own_task: bool) -> str | None:
    """Where a task of the user's comes from: what was said, else the data sets' own; or nowhere.

    Args:
        factory: what was said.
        datasets: the callable that gave the samples.
        own_task: whether it gives a task with them.
    """
    return factory or (datasets if own_task else None)


def task_of(factory: str | None, samples: Tables, datasets: str | None = None) -> Task:
    """The task of stored samples: the user's own, or what the labels say.

    Args:
        factory: ``file.py:callable`` or ``package.module:callable`` that returns a :class:`Task`,
            or data sets with one (``(train, test, task)``, or a mapping with ``task``), or names
            a task; its code is run.
        samples: tables of :func:`overparam.datasets.own_samples`.
        datasets: the callable that gave them, whose own task counts where there is no factory.

    Raises:
        ValueError: the factory gives no task, or one of another kind or number of classes.
    """
    schema = read_schema(samples)
    source = task_source(factory, datasets, schema["own_task"])
    return chosen_task(source, schema["kind"], tuple(schema["classes"]))


def chosen_task(factory: str | None, kind: str, classes: tuple[str, ...]) -> Task:
    """As :func:`task_of`, of what is known of the samples.

    Raises:
        ValueError: as there.
    """
    if factory is None:
        return Task(kind, classes)  # type: ignore[arg-type]
    found = load_object(factory)
    task = found if isinstance(found, Task) else found() if callable(found) else found
    task = _with_data_sets(task)
    if not isinstance(task, Task):
        raise ValueError(f"task {factory!r} gave a {type(task).__name__}; allowed: a Task")
    if task.kind != kind or (kind == "classification" and len(task.classes) != len(classes)):
        raise ValueError(
            f"task {factory!r} is a {task.kind} of {len(task.classes)} classes; the data say "
            f"{kind} of {len(classes)}"
        )
    return task


def _with_data_sets(given: Any) -> Any:
    """The task that comes with data sets; anything else as it is."""
    if isinstance(given, Mapping):
        return given.get("task", given)
    return given[2] if isinstance(given, Sequence) and len(given) == 3 else given


def trained_task(task: Task, data: Batches) -> Task:
    """The task of a network that is trained here: the targets of a regression are scaled.

    One with a loss of its own, or scaled targets already, stays as it is.

    Args:
        task: what is to be learned.
        data: training samples.
    """
    if task.kind != "regression" or task.loss is not None or task.target is not None:
        return task
    return replace(task, target=target_scale(data))


def target_text(task: Task) -> str:
    """How its targets are scaled, for a table: JSON of mean and deviation, or nothing."""
    return "" if task.target is None else json.dumps(asdict(task.target))


def with_target(task: Task, text: str) -> Task:
    """The task with targets scaled as :func:`target_text` says."""
    if not text:
        return task
    said = json.loads(text)
    return replace(task, target=TargetScale(tuple(said["mean"]), tuple(said["deviation"])))


def score_of(model: nn.Module, data: Batches, task: Task) -> float:
    """Accuracy of a classification; root mean squared error of a regression, in its units."""
    outputs, targets = all_outputs(model, data, task)
    if task.kind == "classification":
        return float((outputs.argmax(-1) == targets).double().mean())
    return float(torch.mean((outputs.reshape(targets.shape) - targets).double() ** 2).sqrt())
