"""A pre-norm vision transformer with timm's module names, from 8 x 8 digits to ViT-B/16."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from overparam.models.feed_forward import FeedForward


class PatchEmbed(nn.Module):
    """Cut an image into square patches and map each to a token: `(B, C, H, W)` to `(B, N, dim)`."""

    def __init__(self, in_channels: int, patch_size: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        """Return the patch tokens, row by row."""
        out: Tensor = self.proj(x).flatten(2).transpose(1, 2)
        return out


class Attention(nn.Module):
    """Multi-head self-attention, one fused `qkv` projection and an output projection `proj`.

    Written as two matrix products and a softmax rather than the fused kernel, which has no
    batching rule: an ensemble under `torch.vmap` would fall back to a loop over its members.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = dim // heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Attend over the tokens of each sample: `(B, N, dim)` to `(B, N, dim)`."""
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attention = (q * self.head_dim**-0.5 @ k.transpose(-2, -1)).softmax(dim=-1)
        out: Tensor = self.proj((attention @ v).transpose(1, 2).reshape(batch, tokens, dim))
        return out


class Block(nn.Module):
    """`x + attn(norm1(x))`, then `x + mlp(norm2(x))`."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = FeedForward(dim, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output: `(B, N, dim)` to `(B, N, dim)`."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class TinyViT(nn.Module):
    """Vision transformer of Dosovitskiy et al. (arXiv 2010.11929), small by default.

    The defaults fit an 8 x 8 grey image: 16 tokens of 2 x 2 pixels, width 48, depth 4. ViT-B/16 is
    `TinyViT(image_size=224, patch_size=16, in_channels=3, dim=768, depth=12, heads=12,
    mlp_ratio=4, classes=1000, pool="cls")`. Module names are those of timm's
    `VisionTransformer`, so that rules written for one fit the other.

    Args:
        image_size: side of the square input in pixels, a multiple of `patch_size`.
        patch_size: side of a patch in pixels.
        in_channels: channels of the input.
        dim: token width, a multiple of `heads`.
        depth: number of blocks.
        heads: attention heads.
        mlp_ratio: hidden width of the feed-forward part over `dim`.
        classes: outputs of the head.
        pool: "mean" over the patch tokens, or "cls" for a learned class token.

    Shapes: `(B, in_channels, image_size, image_size)` to `(B, classes)`.

    Raises:
        ValueError: `patch_size` does not divide `image_size`, `heads` does not divide `dim`, or
            `pool` is unknown.
    """

    def __init__(
        self,
        *,
        image_size: int = 8,
        patch_size: int = 2,
        in_channels: int = 1,
        dim: int = 48,
        depth: int = 4,
        heads: int = 4,
        mlp_ratio: float = 2.0,
        classes: int = 10,
        pool: Literal["mean", "cls"] = "mean",
    ) -> None:
        if image_size % patch_size:
            raise ValueError(f"patch_size {patch_size} does not divide image_size {image_size}")
        if dim % heads:
            raise ValueError(f"heads {heads} does not divide dim {dim}")
        if pool not in ("mean", "cls"):
            raise ValueError(f"pool is 'mean' or 'cls', got {pool!r}")
        super().__init__()
        self.num_prefix_tokens = int(pool == "cls")
        self.patch_embed = PatchEmbed(in_channels, patch_size, dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim)) if pool == "cls" else None
        tokens = (image_size // patch_size) ** 2 + self.num_prefix_tokens
        self.pos_embed = nn.Parameter(torch.empty(1, tokens, dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        hidden = int(dim * mlp_ratio)
        self.blocks = nn.Sequential(*(Block(dim, heads, hidden) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, classes)

    def features(self, x: Tensor) -> Tensor:
        """Return what the head reads: `(B, in_channels, H, W)` to `(B, dim)`."""
        x = self.patch_embed(x)
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        x = self.norm(self.blocks(x + self.pos_embed))
        return x[:, 0] if self.num_prefix_tokens else x.mean(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return class logits."""
        out: Tensor = self.head(self.features(x))
        return out
