"""Changed or added parameters for a new task: tuning, merging, serving."""

from overparam.adapt.adapter import BottleneckAdapter, inject_adapters
from overparam.adapt.attention import SeparateAttention, rejoin_attention, separate_attention
from overparam.adapt.lora import LowRank, inject_lora, merge_lora
from overparam.adapt.merge import merge_ssf
from overparam.adapt.merge_parity import merge_parity
from overparam.adapt.methods import (
    METHODS,
    apply_method,
    matched_size,
    prepared_members,
    tuning_report,
)
from overparam.adapt.multi_task import MultiTask
from overparam.adapt.pair_histogram import pair_histogram
from overparam.adapt.quantized import merge_quantized, quantize_symmetric
from overparam.adapt.rules import insertion_points
from overparam.adapt.scale_shift import ScaleShift, inject_ssf, load_ssf, pairs, ssf_state
from overparam.adapt.selective import bitfit, full_tuning, linear_probe, norm_tune
from overparam.adapt.targets import (
    ADDED,
    find_head,
    freeze_except,
    match_modules,
    replace_head,
)
from overparam.adapt.tracing import TracedRule, traced_rule
from overparam.adapt.tuned_state import load_tuned, tuned_state
from overparam.adapt.unmerge import unmerge
from overparam.adapt.vpt import Prompts, vpt

__all__ = [
    "ADDED",
    "METHODS",
    "BottleneckAdapter",
    "LowRank",
    "MultiTask",
    "Prompts",
    "ScaleShift",
    "SeparateAttention",
    "TracedRule",
    "apply_method",
    "bitfit",
    "find_head",
    "freeze_except",
    "full_tuning",
    "inject_adapters",
    "inject_lora",
    "inject_ssf",
    "insertion_points",
    "linear_probe",
    "load_ssf",
    "load_tuned",
    "match_modules",
    "matched_size",
    "merge_lora",
    "merge_parity",
    "merge_quantized",
    "merge_ssf",
    "norm_tune",
    "pair_histogram",
    "pairs",
    "prepared_members",
    "quantize_symmetric",
    "rejoin_attention",
    "replace_head",
    "separate_attention",
    "ssf_state",
    "traced_rule",
    "tuned_state",
    "tuning_report",
    "unmerge",
    "vpt",
]
