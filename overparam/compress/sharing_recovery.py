"""Does sharing without compression give the dense network back?

At compression 1 the memory holds as many numbers as the network has weights. Desai & Shrivastava,
*In defense of parameter sharing for model-compression* (ICLR 2024), ask of a method to reach the
dense network's accuracy there ("Pareto-continuity"): STABLE-RPS uses every number once, HashedNet
and ROAST leave a part of them unused.
"""

from collections.abc import Sequence

import pandas as pd

from overparam.compress.equal_memory_runs import TrainMembers
from overparam.compress.materialise import materialise
from overparam.compress.shared_model import SharedModel
from overparam.compress.sharing_report import sharing_report


def train_beside_dense(shared: Sequence[SharedModel], train: TrainMembers) -> pd.DataFrame:
    """Train shared networks, and dense ones that start from the same virtual weights.

    Args:
        shared: E members, untrained.
        train: models -> the trained ensemble and a row per member, with a column ``test_acc``; may
            train them in place.

    Returns:
        The rows of the shared members, with the columns dense_acc, max_load (weights in the fullest
        bucket) and empty_fraction (of the buckets).

    Raises:
        TypeError: a member that shares no parameters.
    """
    reports = [sharing_report(model) for model in shared]
    plain = [materialise(model) for model in shared]
    runs = train(list(shared))[1]
    dense = train(plain)[1]
    return runs.assign(
        dense_acc=dense["test_acc"],
        max_load=[report.max_load for report in reports],
        empty_fraction=[report.empty_fraction for report in reports],
    )
