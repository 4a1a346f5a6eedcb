"""Randomized parameter sharing: STABLE-RPS (Desai & Shrivastava, ICLR 2024), warm-started."""

from torch import nn

from overparam.compress.registry import compressor
from overparam.compress.shared_start import share_trained


@compressor("Share weights by folding at random, with scaled gradients: STABLE-RPS.")
def stable_rps(model: nn.Module, *, ratio: float, seed: int) -> nn.Module:
    """As near to the trained weights as sharing allows; see ``share_trained``."""
    return share_trained(model, "rps_stable", ratio=ratio, seed=seed)
