"""Training of an ensemble: one loop for every study."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from overparam.training.checkpoint import Checkpoint
from overparam.training.cost import CostCounter
from overparam.training.data import MemberData
from overparam.training.ensemble import Ensemble
from overparam.training.losses import cross_entropy
from overparam.training.running import Callback, Fit, Loss, resume, state
from overparam.training.schedules import Schedule, constant

OptimizerFactory = Callable[[list[nn.Parameter]], torch.optim.Optimizer]

# Their updates use norms or products over whole tensors, which hold all members.
MIXING_OPTIMIZERS = (torch.optim.LBFGS, torch.optim.Adafactor, torch.optim.Muon)


@dataclass(frozen=True)
class FitTrace:
    """What a training leaves beside the weights.

    Attributes:
        train_loss: (E, epochs run); NaN from a member's divergence on.
        diverged: (E,) bool; such a member's weights are NaN.
        cost: sample-passes per member.
        steps: optimiser steps taken.
    """

    train_loss: Tensor
    diverged: Tensor
    cost: CostCounter
    steps: int


def fit(
    ensemble: Ensemble,
    x: Tensor,
    y: Tensor,
    *,
    epochs: int,
    batch_size: int,
    optimizer: OptimizerFactory,
    orders: Tensor,
    schedule: Schedule | None = None,
    loss: Loss = cross_entropy,
    callbacks: Sequence[Callback] = (),
    progress: Callable[[Iterable[int]], Iterable[int]] | None = None,
    checkpoint: Checkpoint | None = None,
) -> FitTrace:
    """Train all members at once with minibatch descent.

    Each member follows the path that a plain loop over its own batches gives, up to rounding.
    (A ReLU or a max pooling within rounding of its kink can amplify that in float32; in float64
    whole trainings agree.) A member whose loss or weights stop being finite is set to NaN, marked,
    and disturbs no other; when all have diverged, the training ends.

    Args:
        ensemble: trained in place; left in eval mode.
        x: inputs (N, ...) shared by all members (never copied E times) or (E, N, ...).
        y: targets (N, ...) or (E, N, ...).
        epochs: number of epochs.
        batch_size: samples a batch; the last one of an epoch may be smaller.
        optimizer: called with the stacked trainable parameters, e.g.
            ``partial(torch.optim.SGD, lr=0.1, momentum=0.9)``; must work element by element.
        orders: LongTensor (E, epochs, M), see ``batch_orders``; (1, epochs, M) gives all members
            the same batches, which is faster when they share x. M may differ from N (subsets,
            resampling).
        schedule: factor on the learning rate by epoch; none keeps it constant.
        loss: outputs (E, B, ...) and targets (E, B, ...) to (E,).
        callbacks: see :class:`Callback`.
        progress: wraps the iterator over epochs.
        checkpoint: saved after every epoch; when it holds a state, the training goes on from there
            and ends bit for bit where an uninterrupted one does.

    Returns:
        Losses, divergence and cost.

    Raises:
        TypeError: a callback that is no :class:`Callback`.
        ValueError: shapes, dtypes or ranges that do not fit; no trainable parameters; an optimiser
            that mixes members; a checkpoint of another training.
    """
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise TypeError(f"callbacks holds a {type(callback).__name__}; allowed: Callback")
    data = MemberData(x, y, ensemble.size)
    _check(ensemble, data, orders, epochs, batch_size)
    run = Fit(
        ensemble=ensemble,
        optimizer=_optimizer(optimizer, ensemble),
        data=data,
        orders=orders,
        epochs=epochs,
        batch_size=batch_size,
        loss=loss,
        callbacks=tuple(callbacks),
        batch=data.batch(orders[:, 0, :1]),
        train_loss=torch.empty(ensemble.size, 0, dtype=torch.float64, device=orders.device),
        diverged=torch.zeros(ensemble.size, dtype=torch.bool, device=orders.device),
    )
    rates = [group["lr"] for group in run.optimizer.param_groups]
    start = resume(run, checkpoint)
    schedule = schedule or constant()
    ensemble.train()
    for epoch in (progress or iter)(range(start, epochs)):
        if run.stop:
            break
        factor = schedule(epoch, epochs)
        for group, rate in zip(run.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        run.epoch = epoch
        _epoch(run)
        if checkpoint is not None:
            checkpoint.save(state(run))
    ensemble.eval()
    return FitTrace(run.train_loss, run.diverged, run.cost, run.step)


def _epoch(run: Fit) -> None:
    order = run.orders[:, run.epoch]
    total = torch.zeros(run.ensemble.size, dtype=torch.float64, device=order.device)
    for callback in run.callbacks:
        callback.on_epoch_start(run)
    for index in torch.split(order, run.batch_size, dim=1):
        run.batch = run.data.batch(index)
        losses = run.gradients()
        for callback in run.callbacks:
            callback.on_gradients(run)
        run.optimizer.step()
        run.step += 1
        for callback in run.callbacks:
            callback.on_step(run)
        total += losses * index.shape[1]
    _freeze_diverged(run, total)
    run.stop = run.stop or bool(run.diverged.all())
    mean = (total / order.shape[1]).masked_fill(run.diverged, torch.nan)
    run.train_loss = torch.cat([run.train_loss, mean.unsqueeze(1)], dim=1)
    for callback in run.callbacks:
        callback.on_epoch_end(run)


@torch.no_grad()
def _freeze_diverged(run: Fit, losses: Tensor) -> None:
    finite = losses.isfinite()
    for parameter in run.ensemble.parameters.values():
        finite &= parameter.flatten(1).isfinite().all(1)
    run.diverged = run.diverged | ~finite
    if run.diverged.any():
        for tensor in [*run.ensemble.parameters.values(), *run.ensemble.buffers.values()]:
            if tensor.is_floating_point():
                tensor[run.diverged] = torch.nan


def _optimizer(factory: OptimizerFactory, ensemble: Ensemble) -> torch.optim.Optimizer:
    optimizer = factory(ensemble.trainable())
    if isinstance(optimizer, MIXING_OPTIMIZERS):
        raise ValueError(
            f"optimizer is {type(optimizer).__name__}, which couples the entries of a tensor and "
            "with them the members; allowed are optimisers that work element by element "
            "(SGD, Adam, AdamW)"
        )
    return optimizer


def _check(
    ensemble: Ensemble, data: MemberData, orders: Tensor, epochs: int, batch_size: int
) -> None:
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"epochs={epochs}, batch_size={batch_size}; both must be at least 1")
    if not ensemble.trainable():
        raise ValueError("the ensemble has no parameter with requires_grad=True: nothing to train")
    dtype = ensemble.trainable()[0].dtype
    if data.x.is_floating_point() and data.x.dtype != dtype:
        raise ValueError(f"x is {data.x.dtype} and the parameters are {dtype}; convert one of them")
    if orders.dtype != torch.long or orders.ndim != 3 or orders.shape[0] not in (1, ensemble.size):
        raise ValueError(
            f"orders is {orders.dtype} of shape {tuple(orders.shape)}; expected int64 of shape "
            f"({ensemble.size} or 1, epochs, samples)"
        )
    if orders.shape[1] < epochs:
        raise ValueError(f"orders holds {orders.shape[1]} epochs; {epochs} are asked for")
    if orders.numel() == 0 or orders.min() < 0 or orders.max() >= data.n:
        raise ValueError(f"orders must hold positions in 0..{data.n - 1}, the {data.n} samples")
