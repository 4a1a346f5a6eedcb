"""Rounding to the nearest of evenly spaced levels, a scale per 32 neighbouring weights."""

from functools import partial

from torch import nn

from overparam.compress.packing import check_bits
from overparam.compress.quantisation_grid import minmax_grid
from overparam.compress.quantise_model import round_to_nearest
from overparam.compress.registry import compressor

GROUP = 32


@compressor(
    "Round weights to the nearest level, a scale per 32 neighbours of a channel.", finetune=False
)
def nearest_group(model: nn.Module, *, bits: int) -> nn.Module:
    """Symmetric levels over the whole range of each group; see ``minmax_grid``."""
    check_bits(bits)
    return round_to_nearest(model, partial(minmax_grid, bits=bits, per="group", group=GROUP))
