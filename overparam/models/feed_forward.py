"""The two-layer perceptron that transformer, ConvNeXt and residual-MLP blocks share."""

from __future__ import annotations

from torch import Tensor, nn


class FeedForward(nn.Module):
    """`fc2(gelu(fc1(x)))` over the last axis, with timm's names.

    Args:
        dim: width of input and output.
        hidden: width between the two linear maps.

    Shapes: `(..., dim)` to `(..., dim)`.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return `fc2(gelu(fc1(x)))`."""
        out: Tensor = self.fc2(self.act(self.fc1(x)))
        return out
