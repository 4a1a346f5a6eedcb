"""Take a merged model apart again, given the weights it had before."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from overparam.adapt.operations import NORMS, TRANSPOSED
from overparam.adapt.rules import Rule, insertion_points
from overparam.adapt.scale_shift import inject_ssf, pairs
from overparam.adapt.targets import Head


def unmerge(
    merged: nn.Module,
    original: Mapping[str, Tensor],
    rules: Rule = "generic",
    exclude: Iterable[str] = (),
    *,
    head: Head = "auto",
    axes: Mapping[type[nn.Module], int] | None = None,
    tolerance: float = 1e-5,
) -> nn.Module:
    """Return the adapted model again: base weights from `original`, pairs recovered beside them.

    Division by a scale loses precision and fails at scale 0, hence the saved original. With W
    before and W' after merging (back), channel by channel
    `scale = <W', W> / <W, W>`, `shift = b' - scale * b` (missing: W = 1 for norms, b = 0).
    Merging the result gives `merged` again to rounding.

    Args:
        merged: what `merge_ssf(model)` returned; it stays as it is.
        original: the state dict of the model before `inject_ssf`. Outside the operations with
            pairs (the head, above all) it isn't read: `merged` keeps its own.
        rules: as given to `inject_ssf`.
        exclude: as given to `inject_ssf`.
        head: as given to `inject_ssf`.
        axes: as given to `inject_ssf`.
        tolerance: largest deviation of `W' - diag(scale) W`, relative to the largest |W'|.

    Raises:
        ValueError: `original` lacks a weight or has it in another shape; the merged weights are
            not a rescaling of the original's rows (trained after merging, or another original); a
            channel of the original is zero in the weights, so that its scale can't be known.
    """
    points = insertion_points(merged, rules, exclude, head=head, axes=axes)
    recovered = {
        name: _recover(name, merged.get_submodule(name), original, tolerance) for name in points
    }
    model = copy.deepcopy(merged)
    for name in points:
        module = model.get_submodule(name)
        for key in ("weight", "bias"):
            before = original.get(f"{name}.{key}".lstrip("."))
            like = module._parameters[key]
            if like is None:
                continue
            module.register_parameter(
                key,
                None
                if before is None
                else nn.Parameter(before.detach().clone().to(like), like.requires_grad),
            )
        if module._parameters["weight"] is None:
            _mark_without_affine(module)
    inject_ssf(model, rules, exclude, head=head, axes=axes, init="identity")
    with torch.no_grad():
        for name, pair in pairs(model).items():
            assert pair.scale is not None and pair.shift is not None
            pair.scale.copy_(recovered[name][0])
            pair.shift.copy_(recovered[name][1])
    return model


@torch.no_grad()
def _recover(
    name: str, module: nn.Module, original: Mapping[str, Tensor], tolerance: float
) -> tuple[Tensor, Tensor]:
    weight, bias = (module._parameters[key] for key in ("weight", "bias"))
    assert weight is not None
    prefix = f"{name}." if name else ""
    before = original.get(f"{prefix}weight")
    if before is None:
        if not isinstance(module, NORMS):
            raise ValueError(f"original lacks {prefix}weight")
        before = torch.ones_like(weight)
    if before.shape != weight.shape:
        raise ValueError(
            f"{prefix}weight has shape {tuple(before.shape)} in original, "
            f"{tuple(weight.shape)} in the merged model"
        )
    new, old = _rows(module, weight.double()), _rows(module, before.double().to(weight.device))
    energy = (old * old).sum(1)
    if (energy == 0).any():
        channel = int((energy == 0).nonzero()[0])
        raise ValueError(f"{prefix}weight is zero in channel {channel}: its scale can't be known")
    scale = (new * old).sum(1) / energy
    deviation = float((new - scale[:, None] * old).abs().max() / new.abs().max().clamp(min=1e-30))
    if deviation > tolerance:
        raise ValueError(
            f"{prefix}weight is no rescaling of the original's channels (deviation "
            f"{deviation:.1e}, allowed {tolerance:.1e}): trained after merging, or another original"
        )
    old_bias = original.get(f"{prefix}bias")
    shift = torch.zeros_like(scale) if bias is None else _rows(module, bias.double()).mean(1)
    if old_bias is not None:
        shift = shift - scale * _rows(module, old_bias.double().to(shift.device)).mean(1)
    return scale, shift


def _rows(module: nn.Module, weight: Tensor) -> Tensor:
    """Return a weight or bias as (C, entries per output channel)."""
    if isinstance(module, nn.LayerNorm):
        return weight.reshape(-1, weight.shape[-1]).T
    if weight.ndim == 1:
        return weight[:, None]
    if isinstance(module, TRANSPOSED):
        grouped = weight.view(module.groups, -1, *weight.shape[1:]).transpose(1, 2)
        return grouped.reshape(int(module.out_channels), -1)
    return weight.reshape(weight.shape[0], -1)


def _mark_without_affine(module: nn.Module) -> None:
    if isinstance(module, nn.LayerNorm):
        module.elementwise_affine = False
    elif hasattr(module, "affine"):
        module.affine = False  # type: ignore[assignment]
