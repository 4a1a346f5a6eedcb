"""Fold pairs into quantised weights, and report the error."""

from __future__ import annotations

import copy
from typing import Literal

import pandas as pd
import torch
from torch import Tensor, nn

from overparam.adapt.attach import check_alone, detach
from overparam.adapt.merge import check_batch_norm_eval
from overparam.adapt.operations import CONVOLUTIONS, FOLDABLE, fold_back
from overparam.adapt.rules import check_not_shared
from overparam.adapt.scale_shift import NAME, apply_pair, pairs

Granularity = Literal["channel", "tensor"]


def quantize_symmetric(
    weight: Tensor, bits: int, granularity: Granularity
) -> tuple[Tensor, Tensor]:
    """Return codes and steps with `weight ~ step * codes`, codes in -(2^(b-1)-1)..2^(b-1)-1.

    Args:
        weight: (C, ...).
        bits: b, from 2 to 16.
        granularity: one step per output channel, or one per tensor.

    Returns:
        Codes (shape of `weight`, int32) and steps (C,).

    Raises:
        ValueError: `bits` or `granularity` out of range.
    """
    if not 2 <= bits <= 16:
        raise ValueError(f"bits must be from 2 to 16, got {bits}")
    if granularity not in ("channel", "tensor"):
        raise ValueError(f"granularity is 'channel' or 'tensor', got {granularity!r}")
    levels = 2 ** (bits - 1) - 1
    largest = weight.detach().abs().flatten(1).amax(dim=1)
    if granularity == "tensor":
        largest = largest.max().expand_as(largest)
    steps = torch.where(largest > 0, largest / levels, torch.ones_like(largest))
    codes = (weight.detach() / _rows(steps, weight)).round().to(torch.int32)
    return codes, steps


@torch.no_grad()
def merge_quantized(
    model: nn.Module, bits: int = 8, granularity: Granularity = "channel"
) -> tuple[nn.Module, pd.DataFrame]:
    """Quantise the base and fold the pairs into it; return a plain model and the errors.

    With one step per channel the pair needs no second rounding: `step' = scale * step`, the
    codes stay, so a quantised base that is already stored can take any task's pairs. With one
    step per tensor the scaled weights have to be rounded again. Both are done and compared with
    rounding the merged float weights once. Biases and norms keep their floats.

    Args:
        model: a model after `inject_ssf`.
        bits: bits per weight of linear maps and convolutions, all of them, also without a pair.
        granularity: one step per output channel, or one per tensor.

    Returns:
        The plain model, weights dequantised to their dtype, and a table with one row per quantised
        operation: `operation, bits, has_pair, base_error` (quantised base against base),
        `fold_error` (this model against float merging), `round_after_error` (float merging, then
        rounding), relative Frobenius norms; `max_abs_error` of this model's weights.

    Raises:
        ValueError: no pairs, tied weights, or `bits` or `granularity` out of range.
        RuntimeError: a batch norm is in train mode, or an operation carries another addition.
    """
    quantize_symmetric(torch.zeros(1, 1), bits, granularity)
    found = pairs(model)
    if not found:
        raise ValueError(f"{type(model).__name__} has no pairs to merge")
    check_batch_norm_eval(model)
    check_not_shared(model, found)
    for name in found:
        check_alone(name, model.get_submodule(name), NAME)
    merged = copy.deepcopy(model)
    rows = []
    for name, module in list(merged.named_modules()):
        if not isinstance(module, FOLDABLE):
            continue
        pair = found.get(name)
        if pair is not None:
            detach(module, NAME, apply_pair)
        weight = module._parameters["weight"]
        if weight is None or not isinstance(module, (nn.Linear, *CONVOLUTIONS)):
            if pair is not None:
                fold_back(module, pair.scale, pair.shift)
            continue
        base = weight.detach().clone()
        codes, steps = quantize_symmetric(base, bits, granularity)
        if pair is not None:
            fold_back(module, pair.scale, pair.shift)
        target = module.weight.detach().clone()
        scale = torch.ones_like(steps) if pair is None or pair.scale is None else pair.scale
        folded = codes * _rows(scale * steps, base)
        rounded_codes, rounded_steps = quantize_symmetric(target, bits, granularity)
        rounded = rounded_codes * _rows(rounded_steps, target)
        if granularity == "tensor":
            again, again_steps = quantize_symmetric(folded, bits, granularity)
            folded = again * _rows(again_steps, base)
        module.weight.copy_(folded)
        rows.append(
            {
                "operation": name,
                "bits": bits,
                "has_pair": pair is not None,
                "base_error": _relative(codes * _rows(steps, base), base),
                "fold_error": _relative(folded, target),
                "round_after_error": _relative(rounded, target),
                "max_abs_error": float((folded - target).abs().max()),
            }
        )
    return merged, pd.DataFrame(rows)


def _rows(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *([1] * (like.ndim - 1)))


def _relative(approximate: Tensor, exact: Tensor) -> float:
    norm = float(exact.norm())
    return float((approximate - exact).norm()) / norm if norm else 0.0
