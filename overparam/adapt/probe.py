"""Find the channel axis of a custom operation by experiment."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from overparam.adapt.operations import (
    CHANNEL_AXIS,
    CONVOLUTIONS,
    TRANSPOSED,
    base_operation,
    channels,
    fold_back,
)


def probe_axis(module: nn.Module) -> int | None:
    """Return the axis on which a pair folds exactly into a class with its own `forward`.

    A random pair is folded into a float64 copy and the result is compared with the pair applied
    to the copy's output, for each layout that the parent class could have. This tells a layer norm
    over `(B, C, H, W)` from one over `(..., C)`, and refuses a layer that standardises its weight
    or ends in a nonlinearity, where no axis agrees.

    Returns:
        The axis, or None if no layout agrees or the module cannot run (meta device).
    """
    if any(parameter.is_meta for parameter in module.parameters()):
        return None
    generator = torch.Generator().manual_seed(0)
    original = copy.deepcopy(module).cpu().double().eval()
    count = channels(original)
    scale = 1 + 0.5 * torch.rand(count, generator=generator, dtype=torch.float64)
    shift = torch.randn(count, generator=generator, dtype=torch.float64)
    folded = copy.deepcopy(original)
    fold_back(folded, scale, shift)
    for shape, axis in _layouts(original, count):
        x = torch.randn(*shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            try:
                plain, merged = original(x), folded(x)
            except (RuntimeError, ValueError, IndexError, AssertionError):
                continue
        if not isinstance(plain, Tensor) or plain.shape[axis] != count:
            continue
        view = [1] * plain.ndim
        view[axis] = count
        if torch.allclose(plain * scale.view(view) + shift.view(view), merged, atol=1e-10):
            return axis
    return None


def _layouts(module: nn.Module, count: int) -> Iterator[tuple[tuple[int, ...], int]]:
    base = base_operation(module)
    if base is None:
        return
    # Two sizes that differ from C and from each other, so that only one axis can be the channels.
    height, width = [size for size in (2, 3, 5) if size != count][:2]
    if base is nn.Linear:
        assert isinstance(module, nn.Linear)
        yield (2, module.in_features), -1
    elif base is nn.LayerNorm:
        yield (2, count, height, width), 1
        yield (2, height, width, count), -1
        yield (2, count, height), 1
    elif isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)):
        reach = [d * (k - 1) + 2 for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        yield (2, module.in_channels, *reach), CHANNEL_AXIS[base]
    else:
        for spatial in ((5, 6), (), (5,), (4, 5, 6)):
            yield (2, count, *spatial), 1
