"""Multilayer perceptron."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
}
NORMS: dict[str, type[nn.Module]] = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


class MLP(nn.Module):
    """Fully connected net ``x -> W_L a(norm(... W_1 x + b_1 ...)) + b_L``.

    Inputs (B, ...) are flattened to (B, widths[0]); outputs are (B, widths[-1]). Weights start as
    torch's default (uniform with bound 1/sqrt(fan in)).

    Args:
        widths: units of the input, of each hidden layer and of the output.
        activation: one of ``ACTIVATIONS``; "identity" gives a deep linear net.
        bias: whether the linear layers have biases.
        norm: "batch" or "layer" between each hidden linear layer and its activation, or None.

    Raises:
        ValueError: fewer than two widths, a width below 1, an unknown activation or norm.

    Example:
        >>> MLP((64, 32, 10))(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 10])
    """

    def __init__(
        self,
        widths: Sequence[int] = (64, 256, 256, 10),
        activation: str = "relu",
        bias: bool = True,
        norm: Literal["batch", "layer"] | None = None,
    ) -> None:
        super().__init__()
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(f"widths={tuple(widths)}; allowed: at least two numbers, each >= 1")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation={activation!r}; allowed: {', '.join(ACTIVATIONS)}")
        if norm is not None and norm not in NORMS:
            raise ValueError(f"norm={norm!r}; allowed: {', '.join(NORMS)} or None")
        layers: list[nn.Module] = []
        for wide_in, wide_out in pairwise(widths[:-1]):
            layers.append(nn.Linear(wide_in, wide_out, bias=bias))
            if norm is not None:
                layers.append(NORMS[norm](wide_out))
            layers.append(ACTIVATIONS[activation]())
        layers.append(nn.Linear(widths[-2], widths[-1], bias=bias))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (B, widths[-1]) of inputs (B, ...)."""
        out: Tensor = self.layers(torch.flatten(x, 1))
        return out
