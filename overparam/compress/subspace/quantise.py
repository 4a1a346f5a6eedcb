"""Uniform quantisation of the d trained coordinates to b bits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MAX_BITS = 16


@dataclass(frozen=True)
class QuantisedVector:
    """``v ~ scale * code`` with signed b-bit codes.

    Symmetric uniform quantiser: ``scale = max|v| / (2^(b-1) - 1)``, codes are the nearest
    integers, so zero is exact and ``|v - dequantised| <= scale / 2`` up to rounding.

    Attributes:
        codes: int32 (d,), in ``[-(2^(b-1) - 1), 2^(b-1) - 1]``.
        scale: A float32 number.
        bits: b.
    """

    codes: NDArray[np.int32]
    scale: float
    bits: int

    @classmethod
    def of(cls, v: Tensor, bits: int) -> Self:
        """Quantise a vector (d,).

        Raises:
            ValueError: ``bits`` outside 2..16, or a value of ``v`` that is not finite.
        """
        if not 2 <= bits <= MAX_BITS:
            raise ValueError(f"bits must lie in [2, {MAX_BITS}], got {bits}")
        values = v.detach().cpu().to(torch.float64).numpy()
        if not np.isfinite(values).all():
            raise ValueError("v has values that are not finite")
        top = 2 ** (bits - 1) - 1
        scale = float(np.float32(np.abs(values).max() / top))
        # A vector of zeros, or so small that its scale underflows, is coded as zeros.
        codes = np.rint(values / scale) if scale > 0.0 else np.zeros_like(values)
        return cls(np.clip(codes, -top, top).astype(np.int32), scale, bits)

    def dequantise(self) -> Tensor:
        """float32 tensor (d,)."""
        return torch.from_numpy((self.codes * self.scale).astype(np.float32))

    def packed(self) -> NDArray[np.uint8]:
        """The codes as ``ceil(d b / 8)`` bytes: unsigned with offset ``2^(b-1)``, high bit
        first."""
        shifted = (self.codes + 2 ** (self.bits - 1)).astype(">u2")
        bits = np.unpackbits(shifted.view(np.uint8).reshape(-1, 2), axis=1)
        return np.packbits(bits[:, 16 - self.bits :])

    @classmethod
    def unpack(cls, data: NDArray[np.uint8], *, dim: int, bits: int, scale: float) -> Self:
        """Inverse of :meth:`packed`.

        Raises:
            ValueError: ``data`` is not ``ceil(d b / 8)`` bytes long.
        """
        expected = -(-dim * bits // 8)
        if len(data) != expected:
            raise ValueError(f"{dim} codes of {bits} bits take {expected} bytes, got {len(data)}")
        columns = np.unpackbits(data)[: dim * bits].reshape(dim, bits)
        wide = np.concatenate([np.zeros((dim, 16 - bits), np.uint8), columns], axis=1)
        shifted = np.packbits(wide, axis=1).view(">u2")[:, 0].astype(np.int32)
        return cls(shifted - np.int32(2 ** (bits - 1)), scale, bits)


@dataclass(frozen=True)
class BitSearch:
    """Result of :func:`fewest_bits`: the chosen b (None if none suffices) and all scores."""

    bits: int | None
    threshold: float
    scores: dict[int, float]


def fewest_bits(
    v: Tensor,
    score: Callable[[Tensor], float],
    *,
    keep: float = 0.99,
    candidates: Sequence[int] = range(2, MAX_BITS + 1),
) -> BitSearch:
    """The smallest b whose quantised v keeps a share of the performance of the exact v.

    Args:
        v: Trained coordinates (d,).
        score: Performance (higher is better, positive) of a model with the given coordinates.
        keep: Share of ``score(v)`` to keep.
        candidates: Numbers of bits to try, each in 2..16, increasing; tried until one suffices.

    Raises:
        ValueError: ``keep`` outside (0, 1], candidates not increasing, or ``score(v)`` not
            positive.
    """
    if not 0.0 < keep <= 1.0:
        raise ValueError(f"keep must lie in (0, 1], got {keep}")
    if not candidates or any(a >= b for a, b in pairwise(candidates)):
        raise ValueError(f"candidates must be increasing, got {list(candidates)}")
    exact = score(v)
    if not exact > 0.0:
        raise ValueError(
            f"score(v) must be positive for a share of it to mean anything, got {exact}"
        )
    scores: dict[int, float] = {}
    for bits in candidates:
        scores[bits] = score(QuantisedVector.of(v, bits).dequantise().to(v))
        if scores[bits] >= keep * exact:
            return BitSearch(bits, keep * exact, scores)
    return BitSearch(None, keep * exact, scores)
