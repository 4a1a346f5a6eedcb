"""Rounding in which later weights make up for the errors of earlier ones."""

from torch import nn

from overparam.compress.calibration import calibration_batches
from overparam.compress.gptq_model import gptq_model
from overparam.compress.packing import check_bits
from overparam.compress.registry import compressor
from overparam.datasets import Batches
from overparam.training import Task

SAMPLES = 512


@compressor("Round weights so that each layer's output stays: GPTQ.", finetune=False)
def gptq(model: nn.Module, *, bits: int, data: Batches, task: Task, seed: int) -> nn.Module:
    """Calibrated on training samples drawn by the seed; see ``gptq_model``."""
    check_bits(bits)
    batches = calibration_batches(data, SAMPLES, seed=seed)
    return gptq_model(
        model, batches, bits, levels="asymmetric", act_order=True, forward=task.outputs
    )
