"""Training of one plain module, whatever it is: the loop for a user's own model."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax, mse_loss, softmax
from torch.optim import Optimizer

from overparam.datasets import Batches, Inputs
from overparam.errors import Diverged
from overparam.training.evaluating import evaluating
from overparam.training.recipe import Recipe
from overparam.training.task import Task

EVALUATION_BATCH = 256


@dataclass(frozen=True)
class History:
    """What a training leaves beside the weights.

    Attributes:
        train_loss: mean loss of each epoch.
        validation_loss: after each epoch; empty without validation samples.
        best_epoch: the epoch whose weights the model has, from 0; -1 where it did not train.
    """

    train_loss: tuple[float, ...]
    validation_loss: tuple[float, ...]
    best_epoch: int

    def frame(self) -> pd.DataFrame:
        """One row per epoch: epoch, train_loss, validation_loss."""
        known = self.validation_loss or (math.nan,) * len(self.train_loss)
        return pd.DataFrame(
            {
                "epoch": range(len(self.train_loss)),
                "train_loss": self.train_loss,
                "validation_loss": known,
            }
        ).astype({"epoch": "int64", "train_loss": "float64", "validation_loss": "float64"})


def train_model(
    model: nn.Module,
    data: Batches,
    task: Task,
    recipe: Recipe,
    *,
    seed: int,
    validation: Batches | None = None,
    teacher: nn.Module | None = None,
    temperature: float = 4.0,
    distill_weight: float = 0.9,
    on_optimizer: Callable[[Optimizer], object] | None = None,
    on_step: Callable[[], None] | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] | None = None,
) -> History:
    r"""Train a module in place.

    With validation samples the weights of the epoch with the lowest validation loss stay, the ones
    before the training included. With a teacher the loss is that of Hinton, Vinyals & Dean
    (*Distilling the knowledge in a neural network*, 2015, Section 2),
    :math:`(1-w)\,L + w\,T^2\,\mathrm{KL}(p_T(\text{teacher}) \,\|\, p_T(\text{model}))`; for a
    regression the second term is the squared distance of the outputs.

    A last batch of one sample is left out where others have more: batch normalisation can't treat
    it. The global random state is put back afterwards.

    Args:
        model: frozen parameters stay as they are; left in eval mode.
        data: training samples.
        task: how they reach the model, and its loss.
        recipe: optimiser, epochs, batches.
        seed: of the order of samples, and of dropout.
        validation: for early stopping.
        teacher: not changed.
        temperature: T of the distillation.
        distill_weight: w in [0, 1].
        on_optimizer: called with the optimiser before the first step; learning rates that it
            sets per group fall along the cosine from there.
        on_step: called after every step.
        progress: wraps the iterator over epochs.

    Raises:
        ValueError: nothing to train, or a distillation out of range.
        Diverged: the loss is not finite.
    """
    if temperature <= 0 or not 0 <= distill_weight <= 1:
        raise ValueError(
            f"temperature is {temperature}, distill_weight {distill_weight}; allowed > 0 and 0..1"
        )
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise ValueError("the model has no trainable parameter")
    optimizer = recipe.make_optimizer(trainable)
    if on_optimizer is not None:
        on_optimizer(optimizer)
    rates = [group["lr"] for group in optimizer.param_groups]
    distilled = (
        None if teacher is None else _Distillation(teacher, task, temperature, distill_weight)
    )
    losses: list[float] = []
    held_out: list[float] = []
    best, best_epoch, kept = math.inf, -1, None
    with _seeded(seed), evaluating(teacher) if teacher is not None else nullcontext():
        if validation is not None and recipe.epochs:
            # A model that is not finite to begin with (NaN < x never holds) loses to any other.
            before = mean_loss(model, validation, task)
            best, kept = before if before < math.inf else math.inf, deepcopy(model.state_dict())
        for epoch in (progress or iter)(range(recipe.epochs)):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * _cosine(epoch, recipe.epochs)
            order = seed * 1_000_003 + epoch
            losses.append(_epoch(model, data, task, recipe, optimizer, order, distilled, on_step))
            if not math.isfinite(losses[-1]):
                raise Diverged(
                    f"the loss is {losses[-1]} in epoch {epoch}; a lower learning rate than "
                    f"{recipe.learning_rate:g} may help"
                )
            best_epoch = epoch if validation is None else best_epoch
            if validation is None:
                continue
            held_out.append(mean_loss(model, validation, task))
            if held_out[-1] < best:
                best, best_epoch, kept = held_out[-1], epoch, deepcopy(model.state_dict())
            elif recipe.patience is not None and epoch - best_epoch >= recipe.patience:
                break
    if kept is not None:
        model.load_state_dict(kept)
    model.eval()
    return History(tuple(losses), tuple(held_out), best_epoch)


@torch.no_grad()
def mean_loss(model: nn.Module, data: Batches, task: Task) -> float:
    """The mean loss over all samples, in eval mode; the mode is put back."""
    total = 0.0
    with evaluating(model):
        for inputs, targets in data.batches(EVALUATION_BATCH):
            total += float(task.loss_of(model, inputs, targets)) * len(targets)
    return total / len(data)


@dataclass(frozen=True)
class _Distillation:
    teacher: nn.Module
    task: Task
    temperature: float
    weight: float

    def loss(self, outputs: Tensor, inputs: Inputs, own: Tensor) -> Tensor:
        with torch.no_grad():
            taught = self.task.outputs(self.teacher, inputs)
        if self.task.kind == "regression":
            pull = mse_loss(outputs, taught)
        else:
            pull = self.temperature**2 * kl_div(
                log_softmax(outputs / self.temperature, dim=-1),
                softmax(taught / self.temperature, dim=-1),
                reduction="batchmean",
            )
        return (1 - self.weight) * own + self.weight * pull


def _epoch(
    model: nn.Module,
    data: Batches,
    task: Task,
    recipe: Recipe,
    optimizer: Optimizer,
    order: int,
    distilled: _Distillation | None,
    on_step: Callable[[], None] | None,
) -> float:
    model.train()
    total, count = 0.0, 0
    for inputs, targets in data.batches(recipe.batch_size, seed=order):
        if len(targets) == 1 and count and recipe.batch_size > 1:
            continue
        outputs = task.outputs(model, inputs)
        loss = task.loss_at(outputs, targets)
        if distilled is not None:
            loss = distilled.loss(outputs, inputs, loss)
        value = float(loss.detach())
        if not math.isfinite(value):
            return value
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if on_step is not None:
            on_step()
        total += value * len(targets)
        count += len(targets)
    return total / count


def _cosine(epoch: int, epochs: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * epoch / epochs))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
