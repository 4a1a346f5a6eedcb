"""Fast Walsh-Hadamard transform, differentiable and batched."""

from typing import Any

import numpy as np
import torch
from scipy.linalg import hadamard
from torch import Tensor

_FIRST_PASSES = hadamard(32, dtype=np.int8)


def fwht(x: Tensor, dim: int = -1, normalize: bool = False) -> Tensor:
    """Walsh-Hadamard transform along one dimension in O(n log n), Sylvester (natural) order.

    ``y = H_n x`` with ``H_1 = (1)`` and ``H_2n = [[H_n, H_n], [H_n, -H_n]]``. H is symmetric and
    ``H H = n I``, so that the backward pass is the same transform and saves no tensor.
    Works under ``torch.func`` (``grad``, ``jvp``, ``vmap``) and differentiates twice.

    Args:
        x: Floating-point tensor; its length n along ``dim`` is a power of two.
        dim: The dimension to transform.
        normalize: Divide by sqrt(n); the transform is then orthogonal and its own inverse.

    Returns:
        Tensor of the shape and dtype of ``x``.

    Raises:
        TypeError: ``x`` is not of a floating-point type.
        ValueError: The length is not a power of two.

    Example:
        >>> fwht(torch.tensor([1.0, 0.0, 1.0, 0.0])).tolist()
        [2.0, 2.0, 0.0, 0.0]
    """
    if not x.is_floating_point():
        raise TypeError(f"x must be a floating-point tensor, got {x.dtype}")
    length = x.shape[dim]
    if length < 1 or length & (length - 1):
        raise ValueError(f"the length along dim {dim} must be a power of two, got {length}")
    y: Tensor = _WalshHadamard.apply(x.movedim(dim, -1)).movedim(-1, dim)  # type: ignore[no-untyped-call]
    return y / length**0.5 if normalize else y


def _transform(x: Tensor) -> Tensor:
    """``H_n x`` over the last dimension: butterflies on the view (n / 2h, 2, h), two buffers.

    The first five passes, whose rows h are too short to be fast, are one product with H_32.
    """
    length = x.shape[-1]
    half = min(length, len(_FIRST_PASSES))
    block = torch.from_numpy(_FIRST_PASSES[:half, :half]).to(x)
    source = (x.reshape(-1, half) @ block).view(x.shape)
    spare: Tensor | None = None
    while half < length:
        target = torch.empty_like(source) if spare is None else spare
        pairs, sums = source.view(-1, 2, half), target.view(-1, 2, half)
        torch.add(pairs[:, 0], pairs[:, 1], out=sums[:, 0])
        torch.sub(pairs[:, 0], pairs[:, 1], out=sums[:, 1])
        source, spare = target, source
        half *= 2
    return source


class _WalshHadamard(torch.autograd.Function):
    """``H x`` over the last dimension; linear and symmetric, hence its own backward and tangent."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return _transform(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        result: Tensor = _WalshHadamard.apply(grad_outputs[0])  # type: ignore[no-untyped-call]
        return result

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        result: Tensor = _WalshHadamard.apply(tangents[0])  # type: ignore[no-untyped-call]
        return result

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None], x: Tensor) -> tuple[Tensor, int]:
        (batch_dim,) = in_dims
        assert batch_dim is not None
        result: Tensor = _WalshHadamard.apply(x.movedim(batch_dim, 0))  # type: ignore[no-untyped-call]
        return result, 0
