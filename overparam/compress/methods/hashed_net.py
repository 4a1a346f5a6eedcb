"""Randomized parameter sharing: HashedNet (Chen et al., ICML 2015), warm-started."""

from torch import nn

from overparam.compress.registry import compressor
from overparam.compress.shared_start import share_trained


@compressor("Share weights by hashing every index: HashedNet.")
def hashed_net(model: nn.Module, *, ratio: float, seed: int) -> nn.Module:
    """As near to the trained weights as sharing allows; see ``share_trained``."""
    return share_trained(model, "hashed", ratio=ratio, seed=seed)
