"""Rounding that is learned, layer after layer, from what the float network computes."""

from functools import partial

import torch
from torch import nn

from overparam.compress.calibration import calibration_batches
from overparam.compress.fake_quantised import integer_weights
from overparam.compress.layer_inputs import call_counts
from overparam.compress.packing import check_bits
from overparam.compress.ptq import ptq
from overparam.compress.quantisation_grid import clipped_grid
from overparam.compress.quantise_model import (
    first_calls,
    left_alone,
    looked_up,
    quantisable_weights,
    round_inner,
    tell_nearest,
)
from overparam.compress.registry import CannotTreat, compressor
from overparam.compress.train_steps import same_modes
from overparam.datasets import Batches
from overparam.training import Task

SAMPLES = 512
STEPS = 500
RATE = 0.05
ROUND_WEIGHT = 200.0
HALF = (torch.float16, torch.bfloat16)


@compressor("Learn whether each weight is rounded up or down: AdaRound.", finetune=False)
def adaround(model: nn.Module, *, bits: int, data: Batches, task: Task, seed: int) -> nn.Module:
    """All weights at ``bits``, activations float, each layer a block of ``ptq``.

    Calibrated on training samples drawn by the seed. As in Nagel et al. 2020 the scales stay as
    they are and inputs come from the quantised network only. A weight that several layers share is
    learned on the inputs of the first that runs. Weights whose inputs can't be caught are rounded
    to the nearest level in the end.

    Warns:
        LeftAlone: weights that no forward pass uses, or that are only rounded.
    """
    check_bits(bits)
    slots = quantisable_weights(model)
    half = sorted({str(p.dtype) for p in model.parameters() if p.dtype in HALF})
    if half:
        raise CannotTreat(f"rounding is learned in float32, the model is {', '.join(half)}")
    batches = calibration_batches(data, SAMPLES, seed=seed)
    names = [name for slot in slots for name in slot.layers]
    counts = call_counts(model, names, batches[0], task.outputs)
    used = first_calls(slots, counts)
    unused = [slot for slot in slots if slot not in used]
    if unused:
        left_alone((slot.name for slot in unused), "not used in a forward pass")
    learned = [slot for slot in used if not looked_up(model, slot)]
    student = ptq(
        model,
        batches,
        w_bits=bits,
        first_last=None,
        seed=seed,
        iters=STEPS,
        blocks=[next(name for name in counts if name in slot.layers) for slot in learned],
        skip=[alias for slot in unused for alias in slot.aliases],
        forward=task.outputs,
        mix=0.0,
        lr_scale=0.0,
        lr_rounding=RATE,
        round_weight=ROUND_WEIGHT,
        relative=True,
    )
    stored = integer_weights(student)
    tell_nearest(round_inner(stored, partial(clipped_grid, bits=bits)))
    return same_modes(stored, model)
