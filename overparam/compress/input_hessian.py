"""Second moments of what flows into a layer: the Hessian of its squared output error."""

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd


@torch.no_grad()
def input_hessian(layer: nn.Module, x: Tensor, *, entries: int = 2**24) -> Tensor:
    r"""Hessian of :math:`\|W X - W_0 X\|^2` in one row of W: :math:`2 X X^\top`.

    Args:
        layer: Linear or Conv1d/2d/3d; its weight is seen as (O, K).
        x: its input, (..., features) or (N, C, ...).
        entries: numbers that patches of a convolution are laid out in at once, about; no less than
            those of one sample.

    Returns:
        float64, (K, K); for a convolution of G > 1 groups (G, K, K).

    Raises:
        TypeError: another kind of layer.
    """
    if isinstance(layer, nn.Linear):
        rows = x.reshape(-1, layer.in_features)
        return 2 * (rows.T @ rows).double()
    if not isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        raise TypeError(f"layer is a {type(layer).__name__}; allowed are Linear, Conv1d/2d/3d")
    columns = layer.in_channels // layer.groups * torch.Size(layer.kernel_size).numel()
    total = torch.zeros(layer.groups, columns, columns, dtype=torch.float64, device=x.device)
    per_sample = layer.groups * columns * x[0, 0].numel()
    for part in torch.split(x, max(1, entries // per_sample)):
        rows = patches(layer, part)
        total += 2 * (rows.transpose(1, 2) @ rows).double()
    return total if layer.groups > 1 else total[0]


def patches(layer: _ConvNd, x: Tensor) -> Tensor:
    """What a convolution multiplies its weight (O, K) with.

    Args:
        layer: Conv1d, 2d or 3d with any stride, padding, padding mode, dilation and groups.
        x: (N, C, ...).

    Returns:
        (groups, N x output places, K); a row times a row of the weight is an output without bias.
    """
    axes = len(layer.kernel_size)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    seen = nn.functional.pad(x, _padding(layer), mode=mode)
    for axis in range(axes):
        size, step = layer.kernel_size[axis], layer.dilation[axis]
        window = seen.unfold(2 + axis, step * (size - 1) + 1, layer.stride[axis])
        seen = window[..., ::step]
    # (N, C, places.., kernel..) to (groups, N, places.., C / groups, kernel..)
    split = seen.reshape(len(seen), layer.groups, -1, *seen.shape[2:])
    grouped = split.movedim(1, 0).movedim(2, 2 + axes)
    return grouped.flatten(2 + axes).flatten(1, 1 + axes)


def _padding(layer: _ConvNd) -> list[int]:
    # Pairs (before, after), last axis first, as ``pad`` wants them.
    pairs: list[int] = []
    for axis in reversed(range(len(layer.kernel_size))):
        if layer.padding == "same":
            whole = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
            pairs += [whole // 2, whole - whole // 2]
        elif layer.padding == "valid":
            pairs += [0, 0]
        else:
            pairs += [int(layer.padding[axis])] * 2
    return pairs
