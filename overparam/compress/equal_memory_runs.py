"""Trainings of one method under a fixed memory, beside the dense network.

The comparison of Desai & Shrivastava, *In defense of parameter sharing for model-compression*
(ICLR 2024): sharing, pruning, lottery tickets and smaller networks, all with m trainable weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor, nn

from overparam.compress.equal_memory import PRUNING, at_equal_memory
from overparam.compress.lottery import lottery_rewind
from overparam.compress.masks import dead_layers, masks_of
from overparam.compress.sharing import memory_size
from overparam.compress.sharing_methods import SHARING
from overparam.compress.smaller import weight_count
from overparam.compress.weights import count_weights
from overparam.training import Ensemble

TrainMembers = Callable[[list[nn.Module]], tuple[Ensemble, pd.DataFrame]]
METHODS = (*SHARING, *PRUNING, "small", "ltr")


@dataclass(frozen=True)
class EqualMemoryRuns:
    """How networks of one method came out.

    Attributes:
        runs: a row per member.
        weights: n, of the dense network.
        memory: m, weights to be stored.
        dead_layers: per member, layers that pruning left without a weight.
    """

    runs: pd.DataFrame
    weights: int
    memory: int
    dead_layers: list[int]


def train_at_equal_memory(
    method: str,
    start: Sequence[nn.Module],
    compression: float,
    train: TrainMembers,
    *,
    dense: pd.DataFrame,
    x: Tensor,
    y: Tensor,
    seeds: Sequence[int],
    narrower: Callable[[int], nn.Module],
    rounds: int,
) -> EqualMemoryRuns:
    """Compress to m = int(n / compression) weights by one method, and train.

    A method that cuts nothing at compression 1 leaves the dense network, whose rows are taken over.
    Sharing trains even then: its map may collide.

    Args:
        method: as for :func:`at_equal_memory`, or ``ltr``, see :func:`lottery_rewind`.
        start: the E members, at their initialisation; for ``ltr`` at the point that tickets are
            rewound to. Not changed.
        compression: n / m >= 1, over the weights of Linear, Conv and Embedding layers.
        train: models -> the trained ensemble and a row per member; may train them in place.
        dense: the rows that ``train`` gives for the dense members.
        x: a batch for data-dependent scores, (E, B, ...).
        y: its labels, (E, B).
        seeds: one per member.
        narrower: makes the architecture at a given width, for ``small``.
        rounds: of pruning and rewinding, for ``ltr``.

    Returns:
        The rows of ``train``. Where ``small`` has no network of so few weights, the floating
        columns are NaN and no run has diverged.

    Raises:
        ValueError: unknown method, not one seed and dense row per member, a compression < 1 or one
            that leaves no weight.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; allowed {', '.join(METHODS)}")
    if not len(start) == len(seeds) == len(dense):
        raise ValueError(
            f"start has {len(start)} members, seeds {len(seeds)}, dense {len(dense)} rows; they "
            "must be as many"
        )
    if not compression >= 1:
        raise ValueError(f"compression is {compression}; allowed >= 1")
    n = count_weights(start[0])
    memory = memory_size(n, compression)
    dead = [0] * len(start)
    if memory == n and method not in SHARING:
        runs = dense
    elif method == "small" and weight_count(narrower, 1) > memory:
        unknown = {str(name): np.nan for name in dense.select_dtypes("float")}
        runs = dense.assign(**unknown, diverged=False)
    elif method == "ltr":
        runs, dead = _train_tickets(start, train, memory, rounds)
    else:
        models = at_equal_memory(
            method, start, compression, x=x, y=y, seeds=seeds, narrower=narrower
        )
        runs = train(models)[1]
        if method in PRUNING:
            dead = [int(dead_layers(masks_of(model))) for model in models]
    return EqualMemoryRuns(runs, n, memory, dead)


def _train_tickets(
    early: Sequence[nn.Module], train: TrainMembers, count: int, rounds: int
) -> tuple[pd.DataFrame, list[int]]:
    """The rows of the tickets' last, full training, and their dead layers."""
    tables = []

    def retrain(nets: list[nn.Module], _round: int) -> list[nn.Module]:
        ensemble, runs = train(nets)
        tables.append(runs)
        return ensemble.members()

    tickets = lottery_rewind(early, retrain, count=count, rounds=rounds)
    return tables[-1], [int(dead_layers(ticket.masks)) for ticket in tickets]
