"""Pruning by connection sensitivity: SNIP (Lee, Ajanthan & Torr, ICLR 2019)."""

from torch import nn

from overparam.compress.calibration import labelled_batches
from overparam.compress.mask_model import mask_model
from overparam.compress.masks import global_mask
from overparam.compress.registry import compressor
from overparam.compress.scores import task_score_snip
from overparam.datasets import Batches
from overparam.training import Task

SAMPLES = 512


@compressor("Keep the weights to which the loss is most sensitive: SNIP.")
def snip(model: nn.Module, *, ratio: float, data: Batches, task: Task, seed: int) -> nn.Module:
    """Scored on training samples drawn by the seed; see ``task_score_snip``."""
    batches = labelled_batches(data, SAMPLES, seed=seed)
    return mask_model(
        model,
        ratio,
        lambda _, count: global_mask(task_score_snip(model, batches, task), count=count),
    )
