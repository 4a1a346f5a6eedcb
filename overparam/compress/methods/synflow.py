"""Pruning by synaptic flow: SynFlow (Tanaka et al., NeurIPS 2020)."""

from torch import nn

from overparam.compress.calibration import calibration_batches
from overparam.compress.mask_model import mask_model
from overparam.compress.masks import Masks
from overparam.compress.registry import CannotTreat, compressor
from overparam.compress.scores import task_synflow_masks
from overparam.datasets import Batches
from overparam.training import Task

SAMPLES = 32


@compressor("Keep the weights that carry the flow from inputs of ones: SynFlow.")
def synflow(model: nn.Module, *, ratio: float, data: Batches, task: Task, seed: int) -> nn.Module:
    """Samples give shapes, and where inputs are tokens, tokens; see ``task_synflow_masks``."""
    (inputs,) = calibration_batches(data, SAMPLES, seed=seed, size=SAMPLES)

    def masks(_: nn.Module, count: int) -> Masks:
        try:
            return task_synflow_masks(model, inputs, task, count=count)
        except (RuntimeError, ValueError) as reason:
            raise CannotTreat(f"no flow in double precision: {reason}") from reason

    return mask_model(model, ratio, masks)
