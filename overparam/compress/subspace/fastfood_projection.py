"""Fastfood random projection, O(D) memory."""

import numpy as np
import torch
from torch import Tensor, nn

from overparam.compress.subspace.hadamard import fwht
from overparam.compress.subspace.philox import PhiloxStream
from overparam.compress.subspace.projections import Projection


class FastfoodProjection(Projection):
    """Fastfood P = H G Pi H B, cut to D rows, in O(D) memory and O(D log D) time.

    With ``L = 2^ceil(log2 D)``, B random signs, Pi a random permutation of L, G in N(0, 1)^L and H
    the unnormalised Walsh-Hadamard transform (Le, Sarlos and Smola 2013; divisor as in
    ``tf_fastfood_transform`` of Li et al. 2018's code):

        P v = [H (G * (H (B * pad(v, L)))[Pi])]_{1..D} / sqrt(D sum_i G_i^2)

    A full column of ``H G Pi H B`` has norm exactly ``sqrt(L sum G^2)`` and the cut keeps D / L of
    its square on average, so columns have unit length in expectation.

    Only d of the L inputs are non-zero. With ``K = 2^ceil(log2 d)``, ``H_L = H_{L/K} (x) H_K``
    makes the inner transform periodic, ``(H_L pad(v, L))_i = (H_K pad(v, K))_{i mod K}``, which
    replaces a transform of length L with one of length K and the permutation with its residues mod
    K. The map is the same. The backward pass saves nothing but these three arrays.

    Args:
        full_dim: D.
        dim: d.
        seed: Philox key; B, Pi and G are drawn from one stream in this order.
        stream: High half of the Philox key.
        dtype: Floating-point type of the scaled Gaussians.

    Raises:
        ValueError: ``dim`` outside ``[1, full_dim]``.
    """

    signs: Tensor
    residues: Tensor
    gaussians: Tensor

    def __init__(
        self,
        full_dim: int,
        dim: int,
        *,
        seed: int,
        stream: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(full_dim, dim)
        length = 1 << (full_dim - 1).bit_length()
        self._short = 1 << (dim - 1).bit_length()
        draws = PhiloxStream(seed, stream)
        signs = draws.signs(length)
        permutation = draws.permutation(length)
        gaussians = draws.normals(length)
        gaussians /= np.sqrt(full_dim * np.square(gaussians).sum())
        self._freeze("signs", signs[:dim], dtype)
        self._freeze("residues", permutation % self._short, torch.int64)
        self._freeze("gaussians", gaussians, dtype)

    def matvec(self, v: Tensor) -> Tensor:
        inner = fwht(nn.functional.pad(v * self.signs, (0, self._short - self.dim)))
        outer = fwht(inner.index_select(-1, self.residues) * self.gaussians)
        return outer[..., : self.full_dim]

    def rmatvec(self, theta: Tensor) -> Tensor:
        length = self.residues.shape[-1]
        outer = fwht(nn.functional.pad(theta, (0, length - self.full_dim))) * self.gaussians
        folded = theta.new_zeros(*theta.shape[:-1], self._short)
        inner = fwht(folded.index_add(-1, self.residues, outer))
        return inner[..., : self.dim] * self.signs
