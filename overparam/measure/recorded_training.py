"""Training of classifiers that records how sharp the loss is on the way, and what it costs."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from torch import Tensor, nn
from torch.nn.functional import cross_entropy as mean_cross_entropy

from overparam.measure.flatness import lambda_max
from overparam.measure.trajectory_path import TrajectoryPath
from overparam.training import (
    MESA,
    Callback,
    Ensemble,
    Schedule,
    StepClock,
    accuracy,
    batch_orders,
    cross_entropy,
    fit,
    run_table,
)
from overparam.training.fit import OptimizerFactory

Samples = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class RecordedTraining:
    """What a method made of some networks, on which path, and at which price.

    Attributes:
        ensemble: the trained members.
        runs: a row per member: seed, val_acc, test_acc, ema_acc (test accuracy of MESA's averaged
            weights, else NaN), train_loss and lambda_max (of the last weights on all training
            samples), diverged, fwd_passes, bwd_passes (sample-passes), seconds (median step).
        path: a row per member and epoch, see :class:`TrajectoryPath`.
    """

    ensemble: Ensemble
    runs: pd.DataFrame
    path: pd.DataFrame


def recorded_training(
    models: Sequence[nn.Module],
    seeds: Sequence[int],
    method: Callback,
    *,
    train: Samples,
    val: Samples,
    test: Samples,
    epochs: int,
    batch_size: int,
    optimizer: OptimizerFactory,
    schedule: Schedule | None = None,
    smoothing: float = 0.0,
    distance: int = 3,
    tau: float = 5.0,
    every: int = 10,
    progress: Callable[[Iterable[int]], Iterable[int]] | None = None,
) -> RecordedTraining:
    """Train classifiers as one ensemble by cross entropy and a method, and look at each epoch.

    The looking changes nothing and is not part of the price.

    Args:
        models: E networks of one architecture; they remain as they are.
        seeds: of the models, for the order of their batches.
        method: what it does in the loop, e.g. SAM or SAF; a plain ``Callback`` leaves the optimiser
            alone.
        train: inputs (E, N, ...) and classes (E, N), of each model its own.
        val, test: likewise.
        epochs, batch_size, optimizer, schedule, progress: as for :func:`fit`.
        smoothing: of the labels, in the loss that is trained and measured.
        distance, tau: of the recorded trajectory loss, see :class:`TrajectoryPath`.
        every: epochs between two measurements of lambda_max; the last epoch has one.

    Raises:
        ValueError: what :class:`Ensemble`, :func:`fit` and :class:`TrajectoryPath` refuse; not one
            seed per model.
    """
    loss = partial(mean_cross_entropy, label_smoothing=smoothing)
    path = TrajectoryPath(distance, tau, lambda net, x, y: lambda_max(net, loss, (x, y)), every)
    clock = StepClock()
    ensemble = Ensemble(models)
    x, y = train
    trace = fit(
        ensemble,
        x,
        y,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        schedule=schedule,
        loss=partial(cross_entropy, smoothing=smoothing),
        orders=batch_orders(x.shape[1], epochs, seeds),
        callbacks=[method, clock, path],
        progress=progress,
    )
    record = path.frame(seeds)
    last = record.tail(len(seeds))
    averaged = method.averaged(ensemble) if isinstance(method, MESA) else None
    runs = run_table(ensemble, trace, seeds, val=val, test=test).assign(
        ema_acc=np.nan if averaged is None else accuracy(averaged, *test).numpy(),
        train_loss=last["train_loss"].to_numpy(),
        lambda_max=last["lambda_max"].to_numpy(),
        fwd_passes=trace.cost.forward,
        bwd_passes=trace.cost.backward,
        seconds=clock.seconds,
    )
    return RecordedTraining(ensemble, runs, record)
