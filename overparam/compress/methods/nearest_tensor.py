"""Rounding to the nearest of evenly spaced levels, one scale per tensor."""

from functools import partial

from torch import nn

from overparam.compress.packing import check_bits
from overparam.compress.quantisation_grid import minmax_grid
from overparam.compress.quantise_model import round_to_nearest
from overparam.compress.registry import compressor


@compressor("Round weights to the nearest level, one scale per tensor.", finetune=False)
def nearest_tensor(model: nn.Module, *, bits: int) -> nn.Module:
    """Symmetric levels over the whole range of each tensor; see ``minmax_grid``."""
    check_bits(bits)
    return round_to_nearest(model, partial(minmax_grid, bits=bits, per="tensor"))
