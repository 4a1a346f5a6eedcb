"""Fewer numbers for the same task: parameter sharing, pruning scores, masks, lottery tickets."""

from overparam.compress.activation_quantizer import ActivationQuantizer
from overparam.compress.adaround import annealed_exponent, reconstruct_block, rounding_term
from overparam.compress.advisor import StabilityAdvice, amplification, stability_advice
from overparam.compress.channel_groups import channel_groups
from overparam.compress.channel_removal import remove_channels
from overparam.compress.coupled_channels import ChannelGroup, ChannelGroups
from overparam.compress.equal_memory import (
    PRUNING,
    at_equal_memory,
    method_bits,
    method_callbacks,
)
from overparam.compress.equal_memory_runs import (
    EqualMemoryRuns,
    TrainMembers,
    train_at_equal_memory,
)
from overparam.compress.export import Export, StoredTensor, export_model
from overparam.compress.export_structure import CannotExport
from overparam.compress.fake_quantised import integer_weights, list_blocks, quantize_model
from overparam.compress.gptq import Rounded, gptq_round
from overparam.compress.gptq_model import gptq_model
from overparam.compress.grad_scale import (
    GradientScaling,
    attach_gradient_scaling,
    rps_grad_scale,
    scale_step,
)
from overparam.compress.group_threshold import couple_masks, group_threshold, merge_masks
from overparam.compress.hashing import rps_mapping
from overparam.compress.index_bits import index_bits, index_bits_per_weight, sparse_bits
from overparam.compress.input_hessian import input_hessian
from overparam.compress.layer_mask import layer_mask
from overparam.compress.lottery import LotteryTicket, lottery_rewind
from overparam.compress.lottery_training import train_ticket
from overparam.compress.low_rank import low_rank_model
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
from overparam.compress.movement import movement_prune
from overparam.compress.onnx_export import OnnxExport, export_onnx
from overparam.compress.packing import pack_bits, unpack_bits
from overparam.compress.prune_iterative import Scorer, prune_iterative
from overparam.compress.ptq import ptq
from overparam.compress.quantisation_grid import Grid, clipped_grid, make_grid, minmax_grid
from overparam.compress.quantise_model import round_to_nearest
from overparam.compress.quantised_weight import QuantisedWeight, dequantise, quantise_weight
from overparam.compress.rank_budget import RankChoices, choose_ranks
from overparam.compress.registry import (
    CannotTreat,
    LeftAlone,
    Method,
    compressor,
    kept_weights,
    load_method,
    method_names,
)
from overparam.compress.scores import (
    score_grasp,
    score_mag,
    score_random,
    score_snip,
    score_synflow,
    synflow_masks,
    task_score_grasp,
    task_score_snip,
    task_synflow_masks,
)
from overparam.compress.shared_model import SharedModel
from overparam.compress.shared_start import share_trained
from overparam.compress.sharing import memory_size, share_parameters
from overparam.compress.sharing_methods import SHARING, share_members
from overparam.compress.sharing_recovery import train_beside_dense
from overparam.compress.sharing_report import SharingReport, load_table, sharing_report
from overparam.compress.smaller import smaller_width, weight_count
from overparam.compress.structured import StructuredPruning, prune_structured
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
from overparam.compress.train_compressed import train_compressed
from overparam.compress.tucker import hooi, tucker_model
from overparam.compress.warm_start import warm_start
from overparam.compress.weight_quantizer import WeightQuantizer
from overparam.compress.weights import WeightSlot, compressible_weights

__all__ = [
    "PRUNING",
    "SHARING",
    "ActivationQuantizer",
    "CannotExport",
    "CannotTreat",
    "ChannelGroup",
    "ChannelGroups",
    "CoordinateProjection",
    "DenseProjection",
    "EqualMemoryRuns",
    "Export",
    "FastfoodProjection",
    "GradientScaling",
    "Grid",
    "LeftAlone",
    "LotteryTicket",
    "MaskedWeight",
    "Masks",
    "Method",
    "OnnxExport",
    "QuantisedVector",
    "QuantisedWeight",
    "RankChoices",
    "Ranking",
    "Rounded",
    "Scorer",
    "SharedModel",
    "SharingReport",
    "SparseProjection",
    "StabilityAdvice",
    "StoredTensor",
    "StructuredPruning",
    "SubspaceModel",
    "TrainMembers",
    "WeightQuantizer",
    "WeightSlot",
    "amplification",
    "annealed_exponent",
    "apply_masks",
    "at_equal_memory",
    "attach_gradient_scaling",
    "channel_groups",
    "choose_ranks",
    "clipped_grid",
    "compressible_weights",
    "compressor",
    "couple_masks",
    "dead_layers",
    "dequantise",
    "export_model",
    "export_onnx",
    "fewest_bits",
    "fwht",
    "global_mask",
    "gptq_model",
    "gptq_round",
    "group_threshold",
    "hooi",
    "index_bits",
    "index_bits_per_weight",
    "input_hessian",
    "integer_weights",
    "kept_count",
    "kept_weights",
    "layer_mask",
    "list_blocks",
    "load_method",
    "load_subspace",
    "load_table",
    "lottery_rewind",
    "low_rank_model",
    "make_grid",
    "masked_members",
    "masks_of",
    "materialise",
    "memory_size",
    "merge_masks",
    "method_bits",
    "method_callbacks",
    "method_names",
    "minmax_grid",
    "movement_prune",
    "pack_bits",
    "prune_iterative",
    "prune_structured",
    "ptq",
    "quantise_weight",
    "quantize_model",
    "ranking",
    "reconstruct_block",
    "remove_channels",
    "round_to_nearest",
    "rounding_term",
    "rps_grad_scale",
    "rps_mapping",
    "save_subspace",
    "scale_step",
    "score_grasp",
    "score_mag",
    "score_random",
    "score_snip",
    "score_synflow",
    "share_members",
    "share_parameters",
    "share_trained",
    "sharing_report",
    "smaller_width",
    "sparse_bits",
    "stability_advice",
    "synflow_masks",
    "task_score_grasp",
    "task_score_snip",
    "task_synflow_masks",
    "train_at_equal_memory",
    "train_beside_dense",
    "train_compressed",
    "train_ticket",
    "tucker_model",
    "unpack_bits",
    "warm_start",
    "weight_count",
]
