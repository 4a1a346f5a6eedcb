"""What is to be learned from the user's samples, and how well a model has."""

import torch
from torch import nn

from overparam.datasets import Batches, read_schema
from overparam.store import Tables
from overparam.study.loading import load_object
from overparam.training.outputs import all_outputs
from overparam.training.task import Task


def task_of(factory: str | None, samples: Tables) -> Task:
    """The task of stored samples: the user's own, or what the labels say.

    Args:
        factory: ``file.py:callable`` or ``package.module:callable`` that returns a :class:`Task`,
            or names one; its code is run.
        samples: tables of :func:`overparam.datasets.own_samples`.

    Raises:
        ValueError: the factory gives no task, or one of another kind or number of classes.
    """
    schema = read_schema(samples)
    return chosen_task(factory, schema["kind"], tuple(schema["classes"]))


def chosen_task(factory: str | None, kind: str, classes: tuple[str, ...]) -> Task:
    """As :func:`task_of`, of what is known of the samples.

    Raises:
        ValueError: as there.
    """
    if factory is None:
        return Task(kind, classes)  # type: ignore[arg-type]
    found = load_object(factory)
    task = found if isinstance(found, Task) else found() if callable(found) else found
    if not isinstance(task, Task):
        raise ValueError(f"task {factory!r} gave a {type(task).__name__}; allowed: a Task")
    if task.kind != kind or (kind == "classification" and len(task.classes) != len(classes)):
        raise ValueError(
            f"task {factory!r} is a {task.kind} of {len(task.classes)} classes; the data say "
            f"{kind} of {len(classes)}"
        )
    return task


def score_of(model: nn.Module, data: Batches, task: Task) -> float:
    """Accuracy of a classification, root mean squared error of a regression."""
    outputs, targets = all_outputs(model, data, task)
    if task.kind == "classification":
        return float((outputs.argmax(-1) == targets).double().mean())
    return float(torch.mean((outputs.reshape(targets.shape) - targets).double() ** 2).sqrt())
