"""A training under way: what callbacks see, and what a checkpoint keeps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from overparam.training.checkpoint import (
    Checkpoint,
    State,
    load_optimizer_state,
    optimizer_state,
    part,
)
from overparam.training.cost import CostCounter
from overparam.training.data import Batch, MemberData
from overparam.training.ensemble import Ensemble

Loss = Callable[[Tensor, Tensor], Tensor]


class Callback:
    """What a training method adds to the loop; every hook does nothing unless overridden.

    A callback that carries state from epoch to epoch also overrides ``state`` and ``load_state``,
    so that a resumed training equals an uninterrupted one.
    """

    def on_epoch_start(self, fit: "Fit") -> None:
        """Before the first batch of an epoch."""

    def on_logits(self, fit: "Fit", logits: Tensor, batch: Batch) -> Tensor | None:
        """After the forward pass of ``fit.batch``: an extra loss (E,), or None."""

    def on_gradients(self, fit: "Fit") -> None:
        """After the backward pass, before the optimiser's step."""

    def on_step(self, fit: "Fit") -> None:
        """After the optimiser's step."""

    def on_epoch_end(self, fit: "Fit") -> None:
        """After the last batch of an epoch."""

    def state(self) -> State:
        """Tensors and whole numbers that a checkpoint must hold."""
        return {}

    def load_state(self, state: Mapping[str, Tensor | int]) -> None:
        """Put back what :meth:`state` gave."""


@dataclass
class Fit:
    """A training under way, as callbacks see it.

    Attributes:
        ensemble: the members.
        optimizer: over ``ensemble.trainable()``.
        data: x and y.
        orders: (E or 1, epochs, M) sample positions.
        epochs: number of epochs.
        batch_size: samples a batch; the last one of an epoch may be smaller.
        loss: outputs and targets to (E,).
        callbacks: run in this order.
        epoch: the present epoch, from 0.
        step: optimiser steps taken.
        batch: the present batch.
        train_loss: (E, epochs so far) mean of the batch losses, without what callbacks add.
        diverged: (E,) members whose loss or weights are no longer finite.
        cost: passes per member.
        stop: set it to True and the training ends with the present epoch.
    """

    ensemble: Ensemble
    optimizer: torch.optim.Optimizer
    data: MemberData
    orders: Tensor
    epochs: int
    batch_size: int
    loss: Loss
    callbacks: Sequence[Callback]
    batch: Batch
    train_loss: Tensor
    diverged: Tensor
    epoch: int = 0
    step: int = 0
    cost: CostCounter = field(default_factory=CostCounter)
    stop: bool = False

    def gradients(self, *, update_buffers: bool = True) -> Tensor:
        """Forward and backward pass of the present batch at the present weights; counted as cost.

        Replaces the gradients. A method that needs a second gradient per step (SAM) calls it from
        ``on_gradients`` with ``update_buffers=False``, which leaves BatchNorm's statistics alone.

        Returns:
            (E,) losses, without what callbacks add.
        """
        ensemble, batch = self.ensemble, self.batch
        buffers = ensemble.buffers
        if not update_buffers:
            buffers = {name: t.clone() for name, t in buffers.items()}
        self.optimizer.zero_grad(set_to_none=True)
        logits = ensemble.functional(ensemble.parameters, buffers, batch.x, shared=batch.shared)
        losses = self.loss(logits, batch.y)
        if losses.shape != (ensemble.size,):
            raise ValueError(
                f"loss returned shape {tuple(losses.shape)}; expected ({ensemble.size},), one "
                "per member"
            )
        total = losses
        for callback in self.callbacks:
            extra = callback.on_logits(self, logits, batch)
            if extra is not None:
                total = total + extra
        # The gradient of a sum with respect to one member is that of the member's own term.
        torch.autograd.backward(total.sum())
        samples = batch.index.shape[1]
        self.cost.add(forward=samples, backward=samples)
        return losses.detach()


def state(run: Fit) -> State:
    """All that an interrupted training needs to go on bit for bit."""
    entries: State = {
        "epoch": run.epoch,
        "step": run.step,
        "stop": int(run.stop),
        "forward": run.cost.forward,
        "backward": run.cost.backward,
        "train_loss": run.train_loss,
        "diverged": run.diverged,
    }
    parts: list[tuple[str, Mapping[str, Any]]] = [
        ("weights.", {**run.ensemble.parameters, **run.ensemble.buffers}),
        ("optimizer.", optimizer_state(run.optimizer)),
    ]
    parts += [(f"callback.{i}.", c.state()) for i, c in enumerate(run.callbacks)]
    for prefix, group in parts:
        for name, value in group.items():
            entries[prefix + name] = value.detach() if isinstance(value, Tensor) else value
    return entries


def resume(run: Fit, checkpoint: Checkpoint | None) -> int:
    """Put a saved state back; the epoch to go on with."""
    saved = checkpoint.load() if checkpoint is not None else None
    if saved is None:
        return 0
    numbers = {name: value for name, value in saved.items() if isinstance(value, int)}
    epoch = numbers["epoch"]
    if epoch >= run.epochs:
        raise ValueError(f"the checkpoint is at epoch {epoch}; this training has {run.epochs}")
    tensors = {name: value for name, value in saved.items() if isinstance(value, Tensor)}
    run.ensemble.restore({k: v for k, v in part(tensors, "weights.").items()})  # type: ignore[misc]  # noqa: C416
    load_optimizer_state(run.optimizer, part(saved, "optimizer."))
    for i, callback in enumerate(run.callbacks):
        callback.load_state(part(saved, f"callback.{i}."))
    run.step, run.stop = numbers["step"], bool(numbers["stop"])
    run.cost = CostCounter(numbers["forward"], numbers["backward"])
    run.train_loss, run.diverged = tensors["train_loss"].clone(), tensors["diverged"].clone()
    return epoch + 1
