"""The operations that a scale-and-shift pair can follow, and how the pair folds into each.

The channel axis comes from the type of the operation, never from its sizes: where height, width
and channels are equal, sizes cannot tell them apart.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize, skip_init

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMS = (nn.LayerNorm, _BatchNorm, nn.GroupNorm)
FOLDABLE = (nn.Linear, *CONVOLUTIONS, *TRANSPOSED, *NORMS)

# Convolutions also take one image without a batch axis, so their axis counts from the end.
CHANNEL_AXIS: dict[type[nn.Module], int] = {
    nn.Linear: -1,
    nn.Conv1d: -2,
    nn.Conv2d: -3,
    nn.Conv3d: -4,
    nn.ConvTranspose1d: -2,
    nn.ConvTranspose2d: -3,
    nn.ConvTranspose3d: -4,
    nn.LayerNorm: -1,
    nn.BatchNorm1d: 1,
    nn.BatchNorm2d: 1,
    nn.BatchNorm3d: 1,
    nn.SyncBatchNorm: 1,
    nn.GroupNorm: 1,
}


def base_operation(module: nn.Module) -> type[nn.Module] | None:
    """Return the torch class in `CHANNEL_AXIS` that the module is or derives from."""
    return next((cls for cls in type(module).__mro__ if cls in CHANNEL_AXIS), None)


def declared_axis(
    module: nn.Module, axes: Mapping[type[nn.Module], int] | None = None
) -> int | None:
    """Return the channel axis of an operation's output where its type fixes it.

    Looked up in this order: `axes`, for the class or a parent; a class attribute `channel_axis`;
    torch's own class, if the module's class computes as that one does.

    Returns:
        The axis, or None for a class that overrides the computation and declares nothing.
    """
    for cls in type(module).__mro__:
        if axes and cls in axes:
            return axes[cls]
        if "channel_axis" in cls.__dict__:
            axis: int = cls.__dict__["channel_axis"]
            return axis
    base = base_operation(module)
    if base is None:
        return None
    same = all(
        getattr(type(module), method, None) is getattr(base, method, None)
        for method in ("forward", "_conv_forward", "_check_input_dim")
    )
    return CHANNEL_AXIS[base] if same else None


def channels(module: nn.Module) -> int:
    """Return C, the number of output channels of a foldable operation.

    Raises:
        TypeError: the module is not a foldable operation.
    """
    if isinstance(module, nn.Linear):
        return module.out_features
    if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)):
        return module.out_channels
    if isinstance(module, nn.LayerNorm):
        return int(module.normalized_shape[-1])
    if isinstance(module, _BatchNorm):
        return module.num_features
    if isinstance(module, nn.GroupNorm):
        return module.num_channels
    raise TypeError(f"{type(module).__name__} is not an operation that a pair can fold into")


def check_plain_parameters(name: str, module: nn.Module) -> None:
    """Refuse a module whose weight is computed from something else.

    Raises:
        ValueError: the weight is parametrised, or re-made by a hook, so folding would be undone.
    """
    if parametrize.is_parametrized(module) or "weight" not in module._parameters:
        raise ValueError(
            f"{name}: its weight is computed (weight norm, spectral norm, ...), so a pair cannot "
            "fold into it; remove the parametrisation first"
        )


@torch.no_grad()
def fold_back(module: nn.Module, scale: Tensor | None, shift: Tensor | None) -> None:
    """Fold `y = scale * op(x) + shift` into the operation itself, in place; exact.

    - linear and convolution (grouped, depthwise, padded): `W' = diag(scale) W`,
      `b' = scale * b + shift`;
    - norms: `w' = scale * w`, `c' = scale * c + shift`.

    A missing bias or affine parameter is created (b = 0, w = 1, c = 0) where it is needed.
    Lian et al. 2022 (arXiv 2210.08823), section 3.3.

    Args:
        module: a foldable operation.
        scale: (C,), or None for ones.
        shift: (C,), or None for zeros.
    """
    weight: Tensor | None = module._parameters["weight"]
    bias: Tensor | None = module._parameters["bias"]
    is_norm = isinstance(module, NORMS)
    like = next((t for t in (weight, scale, shift) if t is not None), None)
    if like is None:
        return
    if is_norm:
        shape = tuple(getattr(module, "normalized_shape", (channels(module),)))
        weight = like.new_ones(shape) if weight is None else weight
        bias = like.new_zeros(shape) if bias is None else bias
    else:
        shape = (channels(module),)
        if bias is None and shift is not None:
            bias = like.new_zeros(shape)
    assert weight is not None
    trains = weight.requires_grad
    if scale is not None:
        weight = _scale_outputs(module, weight, scale)
        bias = None if bias is None else bias * scale
    if shift is not None and bias is not None:
        bias = bias + shift
    _set_parameter(module, "weight", weight, trains)
    if bias is not None:
        _set_parameter(module, "bias", bias, trains)
    if isinstance(module, nn.LayerNorm):
        module.elementwise_affine = True
    elif isinstance(module, (_BatchNorm, nn.GroupNorm)):
        module.affine = True


def _scale_outputs(module: nn.Module, weight: Tensor, scale: Tensor) -> Tensor:
    if isinstance(module, NORMS):
        return weight * scale
    if isinstance(module, TRANSPOSED):
        # Layout (in, out / groups, *kernel), input channels ordered by group.
        grouped = weight.view(module.groups, -1, *weight.shape[1:])
        factor = scale.view(module.groups, 1, -1, *([1] * (weight.ndim - 2)))
        return (grouped * factor).flatten(0, 1)
    return weight * scale.view(-1, *([1] * (weight.ndim - 1)))


def refuse_forward(module: nn.Module, axis: int) -> str | None:
    """Say why a pair on `axis` cannot be pushed into the operation that follows it, or None.

    Zero padding is the classic reason: the padded border would be shifted as well, although in
    the original it is zero. Reflecting, replicating and circular padding repeat shifted values.
    """
    if isinstance(module, nn.Linear):
        return None if axis == -1 else f"channels lie on axis {axis}, a linear map reads the last"
    if not isinstance(module, CONVOLUTIONS):
        return f"{type(module).__name__} is not a linear map or a convolution"
    if axis not in (1, -(len(module.kernel_size) + 1)):
        return f"channels lie on axis {axis}, not where a convolution reads them"
    pads = module._reversed_padding_repeated_twice
    if module.padding_mode == "zeros" and any(pads):
        return "it pads with zeros, and the shift would leak into the padding"
    return None


@torch.no_grad()
def fold_forward(module: nn.Module, scale: Tensor | None, shift: Tensor | None) -> None:
    """Fold `op(scale * x + shift)` into the operation, in place.

    `W' = W diag(scale)`, `b' = b + W shift`, the sum over kernel positions included. Only for what
    `refuse_forward` lets pass. Sums run in float64, since they cancel.

    Args:
        module: a linear map or a convolution without zero padding.
        scale: (C_in,), or None for ones.
        shift: (C_in,), or None for zeros.
    """
    weight = module._parameters["weight"]
    bias = module._parameters["bias"]
    assert weight is not None
    trains = weight.requires_grad
    # (groups, out / groups, in / groups, kernel positions)
    groups = int(getattr(module, "groups", 1))
    wide = weight.double().reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    if shift is not None:
        moved = torch.einsum("goik,gi->go", wide, shift.double().view(groups, -1)).flatten()
        new_bias = moved if bias is None else bias.double() + moved
        _set_parameter(module, "bias", new_bias.to(weight.dtype), trains)
    if scale is not None:
        scaled = wide * scale.double().view(groups, 1, -1, 1)
        _set_parameter(module, "weight", scaled.reshape(weight.shape).to(weight.dtype), trains)


def _set_parameter(module: nn.Module, name: str, value: Tensor, requires_grad: bool) -> None:
    parameter = nn.Parameter(value.detach().clone(), requires_grad=requires_grad)
    module.register_parameter(name, parameter)


def linear_of(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """Return a linear map with copies of the given weight (out, in) and bias (out,) or None.

    Draws no random numbers, unlike the constructor of `nn.Linear`.
    """
    linear: nn.Linear = skip_init(  # type: ignore[no-untyped-call]
        nn.Linear,
        weight.shape[1],
        weight.shape[0],
        bias=bias is not None,
        device=weight.device,
        dtype=weight.dtype,
    )
    with torch.no_grad():
        linear.weight.copy_(weight)
        if bias is not None:
            linear.bias.copy_(bias)
    return linear.requires_grad_(weight.requires_grad)
