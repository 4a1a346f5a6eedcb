"""Scores of single weights, one file each; the higher, the longer a weight is kept.

Every scorer takes a module or an :class:`overparam.training.ensemble.Ensemble` and optional masks,
and returns a tensor per weight name (with a leading member axis for an ensemble).
"""

from overparam.compress.scores.grasp import score_grasp
from overparam.compress.scores.magnitude import score_mag
from overparam.compress.scores.random import score_random
from overparam.compress.scores.snip import score_snip
from overparam.compress.scores.synflow import score_synflow, synflow_masks
from overparam.compress.scores.task_scores import (
    task_score_grasp,
    task_score_snip,
    task_synflow_masks,
)

__all__ = [
    "score_grasp",
    "score_mag",
    "score_random",
    "score_snip",
    "score_synflow",
    "synflow_masks",
    "task_score_grasp",
    "task_score_snip",
    "task_synflow_masks",
]
