"""Pruning that preserves gradient flow: GraSP (Wang, Zhang & Grosse, ICLR 2020)."""

from torch import nn

from overparam.compress.calibration import labelled_batches
from overparam.compress.mask_model import mask_model
from overparam.compress.masks import Masks, global_mask
from overparam.compress.registry import CannotTreat, compressor
from overparam.compress.scores import task_score_grasp
from overparam.datasets import Batches
from overparam.training import Task

SAMPLES = 512


@compressor("Keep the weights that carry the flow of the gradient: GraSP.")
def grasp(model: nn.Module, *, ratio: float, data: Batches, task: Task, seed: int) -> nn.Module:
    """Scored on training samples drawn by the seed; see ``task_score_grasp``."""
    batches = labelled_batches(data, SAMPLES, seed=seed)

    def masks(_: nn.Module, count: int) -> Masks:
        try:
            scores = task_score_grasp(model, batches, task)
        except RuntimeError as reason:
            if "derivative" not in str(reason):
                raise
            raise CannotTreat(f"the model has no second derivative: {reason}") from reason
        return global_mask(scores, count=count)

    return mask_model(model, ratio, masks)
