"""Networks that several studies share."""

from overparam.models.convnet import SmallConvNet
from overparam.models.count import count_parameters
from overparam.models.feed_forward import FeedForward
from overparam.models.group_sums import GroupSums
from overparam.models.mlp import MLP
from overparam.models.residual_mlp import ResidualMLP
from overparam.models.seeded import seeded, with_weights
from overparam.models.tiny_convnext import TinyConvNeXt
from overparam.models.tiny_mixer import TinyMixer
from overparam.models.tiny_vit import TinyViT
from overparam.models.user_weights import load_weights, read_state_dict
from overparam.models.vgg import VGGSmall

__all__ = [
    "MLP",
    "FeedForward",
    "GroupSums",
    "ResidualMLP",
    "SmallConvNet",
    "TinyConvNeXt",
    "TinyMixer",
    "TinyViT",
    "VGGSmall",
    "count_parameters",
    "load_weights",
    "read_state_dict",
    "seeded",
    "with_weights",
]
