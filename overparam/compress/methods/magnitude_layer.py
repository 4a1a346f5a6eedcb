"""Magnitude pruning with the same fraction in every layer."""

from torch import nn

from overparam.compress.layer_mask import layer_mask
from overparam.compress.mask_model import mask_model
from overparam.compress.masks import Masks
from overparam.compress.registry import CannotTreat, compressor
from overparam.compress.scores import score_mag


@compressor("Keep the largest weights of each layer, the same fraction of every one.")
def magnitude_layer(model: nn.Module, *, ratio: float) -> nn.Module:
    """Exactly as many in all as the ratio leaves; see ``layer_mask``."""

    def masks(net: nn.Module, count: int) -> Masks:
        scores = score_mag(net)
        if count < len(scores):
            raise CannotTreat(f"ratio {ratio:g} leaves {count} weights for {len(scores)} layers")
        return layer_mask(scores, count=count)

    return mask_model(model, ratio, masks)
