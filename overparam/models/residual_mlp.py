"""A residual multi-layer perceptron: stem, pre-norm feed-forward blocks, final norm, head."""

from __future__ import annotations

from torch import Tensor, nn

from overparam.models.feed_forward import FeedForward


class ResidualBlock(nn.Module):
    """`x + mlp(norm(x))`."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output: `(B, dim)` to `(B, dim)`."""
        out: Tensor = x + self.mlp(self.norm(x))
        return out


class ResidualMLP(nn.Module):
    """Residual MLP on flattened inputs.

    Args:
        in_features: numbers per sample after flattening.
        dim: width of the residual stream.
        hidden: width inside a block.
        depth: number of blocks.
        classes: outputs of the head.

    Shapes: `(B, ...)` with `in_features` numbers per sample, to `(B, classes)`.
    """

    def __init__(
        self,
        *,
        in_features: int = 64,
        dim: int = 64,
        hidden: int = 128,
        depth: int = 4,
        classes: int = 10,
    ) -> None:
        super().__init__()
        self.stem = nn.Linear(in_features, dim)
        self.blocks = nn.Sequential(*(ResidualBlock(dim, hidden) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def features(self, x: Tensor) -> Tensor:
        """Return what the head reads: `(B, ...)` to `(B, dim)`."""
        out: Tensor = self.norm(self.blocks(self.stem(x.flatten(1))))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Return class logits."""
        out: Tensor = self.head(self.features(x))
        return out
