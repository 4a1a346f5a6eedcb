"""Fewer numbers for the same task: parameter sharing, pruning scores, masks, lottery tickets."""

from overparam.compress.advisor import StabilityAdvice, amplification, stability_advice
from overparam.compress.equal_memory import PRUNING, SHARING, at_equal_memory, method_callbacks
from overparam.compress.grad_scale import (
    GradientScaling,
    attach_gradient_scaling,
    rps_grad_scale,
    scale_step,
)
from overparam.compress.hashing import rps_mapping
from overparam.compress.index_bits import index_bits, index_bits_per_weight, sparse_bits
from overparam.compress.lottery import LotteryTicket, lottery_rewind
from overparam.compress.masked_weight import MaskedWeight
from overparam.compress.masks import (
    Masks,
    Ranking,
    apply_masks,
    dead_layers,
    global_mask,
    kept_count,
    masked_members,
    masks_of,
    ranking,
)
from overparam.compress.materialise import materialise
from overparam.compress.prune_iterative import Scorer, prune_iterative
from overparam.compress.scores import (
    score_grasp,
    score_mag,
    score_random,
    score_snip,
    score_synflow,
    synflow_masks,
)
from overparam.compress.shared_model import SharedModel
from overparam.compress.sharing import memory_size, share_parameters
from overparam.compress.sharing_report import SharingReport, sharing_report
from overparam.compress.smaller import smaller_width, weight_count
from overparam.compress.subspace import (
    CoordinateProjection,
    DenseProjection,
    FastfoodProjection,
    QuantisedVector,
    SparseProjection,
    SubspaceModel,
    fewest_bits,
    fwht,
    load_subspace,
    save_subspace,
)
from overparam.compress.warm_start import warm_start
from overparam.compress.weights import WeightSlot, compressible_weights

__all__ = [
    "PRUNING",
    "SHARING",
    "CoordinateProjection",
    "DenseProjection",
    "FastfoodProjection",
    "GradientScaling",
    "LotteryTicket",
    "MaskedWeight",
    "Masks",
    "QuantisedVector",
    "Ranking",
    "Scorer",
    "SharedModel",
    "SharingReport",
    "SparseProjection",
    "StabilityAdvice",
    "SubspaceModel",
    "WeightSlot",
    "amplification",
    "apply_masks",
    "at_equal_memory",
    "attach_gradient_scaling",
    "compressible_weights",
    "dead_layers",
    "fewest_bits",
    "fwht",
    "global_mask",
    "index_bits",
    "index_bits_per_weight",
    "kept_count",
    "load_subspace",
    "lottery_rewind",
    "masked_members",
    "masks_of",
    "materialise",
    "memory_size",
    "method_callbacks",
    "prune_iterative",
    "ranking",
    "rps_grad_scale",
    "rps_mapping",
    "save_subspace",
    "scale_step",
    "score_grasp",
    "score_mag",
    "score_random",
    "score_snip",
    "score_synflow",
    "share_parameters",
    "sharing_report",
    "smaller_width",
    "sparse_bits",
    "stability_advice",
    "synflow_masks",
    "warm_start",
    "weight_count",
]
