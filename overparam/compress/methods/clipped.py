"""Rounding to the nearest level, the range of each channel clipped where that pays."""

from functools import partial

from torch import nn

from overparam.compress.packing import check_bits
from overparam.compress.quantisation_grid import clipped_grid
from overparam.compress.quantise_model import round_to_nearest
from overparam.compress.registry import compressor


@compressor(
    "Round weights to the nearest level of a range clipped in the 2.4-norm.", finetune=False
)
def clipped(model: nn.Module, *, bits: int) -> nn.Module:
    """Asymmetric levels per channel; see ``clipped_grid``."""
    check_bits(bits)
    return round_to_nearest(model, partial(clipped_grid, bits=bits))
