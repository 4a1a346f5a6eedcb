"""A ConvNeXt small enough for 8 x 8 images, with timm's module names."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from overparam.models.feed_forward import FeedForward


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of an image `(B, C, H, W)`, at each pixel."""

    channel_axis: ClassVar[int] = 1

    def forward(self, input: Tensor) -> Tensor:
        """Normalise over axis 1."""
        x = input.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    """`x + layer_scale * mlp(norm(depthwise(x)))`, the mlp over the channels of each pixel."""

    def __init__(
        self, dim: int, kernel_size: int, mlp_ratio: float, layer_scale: float | None
    ) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = FeedForward(dim, int(dim * mlp_ratio))
        self.gamma = None if layer_scale is None else nn.Parameter(torch.full((dim,), layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output: `(B, dim, H, W)` to `(B, dim, H, W)`."""
        y = self.mlp(self.norm(self.conv_dw(x).permute(0, 2, 3, 1)))
        if self.gamma is not None:
            y = y * self.gamma
        return x + y.permute(0, 3, 1, 2)


class ConvNeXtStage(nn.Module):
    """Optional downsampling (norm, then a 2 x 2 convolution of stride 2), then blocks."""

    def __init__(
        self,
        dim_in: int,
        dim: int,
        depth: int,
        kernel_size: int,
        mlp_ratio: float,
        layer_scale: float | None,
    ) -> None:
        super().__init__()
        self.downsample = (
            nn.Identity()
            if dim_in == dim
            else nn.Sequential(
                LayerNorm2d(dim_in, eps=1e-6), nn.Conv2d(dim_in, dim, kernel_size=2, stride=2)
            )
        )
        self.blocks = nn.Sequential(
            *(ConvNeXtBlock(dim, kernel_size, mlp_ratio, layer_scale) for _ in range(depth))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the stage's output: `(B, dim_in, H, W)` to `(B, dim, H', W')`."""
        out: Tensor = self.blocks(self.downsample(x))
        return out


class TinyConvNeXt(nn.Module):
    """ConvNeXt of Liu et al. (arXiv 2201.03545), small by default.

    Args:
        in_channels: channels of the input.
        dims: width of each stage; strictly changing, since a stage downsamples when it widens.
        depths: blocks of each stage, as many as `dims`.
        stem_size: side and stride of the stem's convolution.
        kernel_size: side of the depthwise kernels, odd (7 in the paper, 3 for maps of 4 x 4).
        mlp_ratio: hidden width of a block's mlp over the stage's width.
        layer_scale: start of the residual branch's learned factor, or None for no factor. The
            paper's 1e-6 needs its long schedule.
        classes: outputs of the head.

    Shapes: `(B, in_channels, H, W)` to `(B, classes)`.

    Raises:
        ValueError: `dims` and `depths` differ in length, two neighbouring stages have one width,
            or `kernel_size` is even.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        dims: Sequence[int] = (32, 64),
        depths: Sequence[int] = (2, 2),
        stem_size: int = 2,
        kernel_size: int = 3,
        mlp_ratio: float = 2.0,
        layer_scale: float | None = None,
        classes: int = 10,
    ) -> None:
        if len(dims) != len(depths) or not dims:
            raise ValueError(f"dims {tuple(dims)} and depths {tuple(depths)} must be equally long")
        if any(a == b for a, b in pairwise(dims)):
            raise ValueError(f"dims must change from stage to stage, got {tuple(dims)}")
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, dims[0], kernel_size=stem_size, stride=stem_size),
            LayerNorm2d(dims[0], eps=1e-6),
        )
        self.stages = nn.Sequential(
            *(
                ConvNeXtStage(before, dim, depth, kernel_size, mlp_ratio, layer_scale)
                for before, dim, depth in zip((dims[0], *dims[:-1]), dims, depths, strict=True)
            )
        )
        self.norm = nn.LayerNorm(dims[-1], eps=1e-6)
        self.head = nn.Linear(dims[-1], classes)

    def features(self, x: Tensor) -> Tensor:
        """Return what the head reads: `(B, in_channels, H, W)` to `(B, dims[-1])`."""
        out: Tensor = self.norm(self.stages(self.stem(x)).mean(dim=(2, 3)))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Return class logits."""
        out: Tensor = self.head(self.features(x))
        return out
