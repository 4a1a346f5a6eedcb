"""Randomized parameter sharing: ROAST (Desai, Zhou & Shrivastava, 2022), warm-started."""

from torch import nn

from overparam.compress.registry import compressor
from overparam.compress.shared_start import share_trained


@compressor("Share weights by hashing tiles: ROAST.")
def roast(model: nn.Module, *, ratio: float, seed: int) -> nn.Module:
    """As near to the trained weights as sharing allows; see ``share_trained``."""
    return share_trained(model, "roast", ratio=ratio, seed=seed)
