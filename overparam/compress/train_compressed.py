"""Training of compressed networks side by side."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import pandas as pd
import torch
from torch import Tensor, nn

from overparam.compress.equal_memory import method_callbacks
from overparam.training import Ensemble, batch_orders, fit, multistep, run_table


def train_compressed(
    models: Sequence[nn.Module],
    seeds: Sequence[int],
    *,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    epochs: int,
    batch_size: int,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    drops: Sequence[float],
    progress: Callable[[Iterable[int]], Iterable[int]] | None = None,
) -> tuple[Ensemble, pd.DataFrame]:
    """Train classifiers of one kind with SGD, and test them.

    Gradients of shared parameters are scaled as the models ask for (:func:`method_callbacks`),
    before momentum and weight decay. The order of a seed's samples depends on nothing but the seed,
    so that methods compare on the same batches.

    Args:
        models: E dense, masked or shared networks, all of one kind; not changed.
        seeds: one per member, of the order of its samples.
        train: inputs (E, N, ...) and classes (E, N).
        test: inputs (E, M, ...) and classes (E, M).
        epochs: passes over the training samples.
        batch_size: samples per step.
        learning_rate: at the start.
        momentum: of SGD.
        weight_decay: of SGD.
        drops: fractions of the epochs from which on the rate is ten times smaller.
        progress: wraps the iterator over epochs.

    Returns:
        The trained ensemble, and a row per member: seed, test_acc, train_loss, diverged.

    Raises:
        ValueError: no models, and what :func:`fit` refuses.
    """
    if not models:
        raise ValueError("models is empty; give at least one")
    (x, y), ensemble = train, Ensemble(models)
    trace = fit(
        ensemble,
        x,
        y,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=partial(
            torch.optim.SGD, lr=learning_rate, momentum=momentum, weight_decay=weight_decay
        ),
        schedule=multistep(drops),
        orders=batch_orders(x.shape[1], epochs, seeds),
        callbacks=method_callbacks(models),
        progress=progress,
    )
    return ensemble, run_table(ensemble, trace, seeds, test=test)
