"""Networks that several studies share."""

from overparam.models.convnet import SmallConvNet, image_shape
from overparam.models.count import count_parameters
from overparam.models.feed_forward import FeedForward
from overparam.models.group_sums import GroupSums
from overparam.models.mlp import MLP
from overparam.models.named import NETWORK_NAMES, named_network
from overparam.models.residual_mlp import ResidualMLP
from overparam.models.seeded import seeded, stored_members, with_weights
from overparam.models.tiny_convnext import TinyConvNeXt
from overparam.models.tiny_mixer import TinyMixer
from overparam.models.tiny_vit import TinyViT
from overparam.models.user_weights import load_weights, read_state_dict
from overparam.models.vgg import VGGSmall

__all__ = [
    "MLP",
    "NETWORK_NAMES",
    "FeedForward",
    "GroupSums",
    "ResidualMLP",
    "SmallConvNet",
    "TinyConvNeXt",
    "TinyMixer",
    "TinyViT",
    "VGGSmall",
    "count_parameters",
    "image_shape",
    "load_weights",
    "named_network",
    "read_state_dict",
    "seeded",
    "stored_members",
    "with_weights",
]
