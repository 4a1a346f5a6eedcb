"""An MLP-Mixer for small images: feed-forward parts alternate over tokens and over channels."""

from __future__ import annotations

from torch import Tensor, nn

from overparam.models.feed_forward import FeedForward
from overparam.models.tiny_vit import PatchEmbed


class MixerBlock(nn.Module):
    """Mix over the tokens, then over the channels, each in its own pre-norm residual branch."""

    def __init__(self, tokens: int, dim: int, token_hidden: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp_tokens = FeedForward(tokens, token_hidden)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = FeedForward(dim, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output: `(B, N, dim)` to `(B, N, dim)`."""
        x = x + self.mlp_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class TinyMixer(nn.Module):
    """MLP-Mixer of Tolstikhin et al. (arXiv 2105.01601), small by default.

    Args:
        image_size: side of the square input in pixels, a multiple of `patch_size`.
        patch_size: side of a patch in pixels.
        in_channels: channels of the input.
        dim: token width.
        depth: number of blocks.
        token_hidden: hidden width of the part that mixes tokens.
        hidden: hidden width of the part that mixes channels.
        classes: outputs of the head.

    Shapes: `(B, in_channels, image_size, image_size)` to `(B, classes)`.

    Raises:
        ValueError: `patch_size` does not divide `image_size`.
    """

    def __init__(
        self,
        *,
        image_size: int = 8,
        patch_size: int = 2,
        in_channels: int = 1,
        dim: int = 48,
        depth: int = 4,
        token_hidden: int = 32,
        hidden: int = 96,
        classes: int = 10,
    ) -> None:
        if image_size % patch_size:
            raise ValueError(f"patch_size {patch_size} does not divide image_size {image_size}")
        super().__init__()
        tokens = (image_size // patch_size) ** 2
        self.stem = PatchEmbed(in_channels, patch_size, dim)
        self.blocks = nn.Sequential(
            *(MixerBlock(tokens, dim, token_hidden, hidden) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, classes)

    def features(self, x: Tensor) -> Tensor:
        """Return what the head reads: `(B, in_channels, H, W)` to `(B, dim)`."""
        out: Tensor = self.norm(self.blocks(self.stem(x))).mean(dim=1)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Return class logits."""
        out: Tensor = self.head(self.features(x))
        return out
