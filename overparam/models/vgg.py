"""Small VGG-like net with batch normalisation (Simonyan and Zisserman, 2015)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from overparam.models.convnet import (
    BATCH_NORMS,
    CONVOLUTIONS,
    MAX_POOLS,
    check_input_shape,
    pooled_positions,
)


class VGGSmall(nn.Module):
    """Two blocks of two (convolution, batch norm, ReLU) and a max pooling, then one linear layer.

    Convolutions of width 3 without bias (the norm has one); the second block has twice the
    channels.

    Args:
        input_shape: (C, H, W) of an image or (C, L) of a signal; inputs may come flattened.
        width: channels of the first block.
        classes: number of outputs.

    Raises:
        ValueError: input_shape does not fit two poolings, or width or classes is below 1.

    Example:
        >>> VGGSmall((1, 8, 8), width=16)(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 10])
    """

    def __init__(
        self, input_shape: Sequence[int] = (1, 8, 8), width: int = 32, classes: int = 10
    ) -> None:
        super().__init__()
        check_input_shape(input_shape, halvings=2)
        if width < 1 or classes < 1:
            raise ValueError(f"width={width}, classes={classes}; allowed: each >= 1")
        dims = len(input_shape) - 1
        layers: list[nn.Module] = []
        c_in = input_shape[0]
        for c_out in (width, 2 * width):
            for _ in range(2):
                layers += [
                    CONVOLUTIONS[dims](c_in, c_out, 3, padding=1, bias=False),
                    BATCH_NORMS[dims](c_out),
                    nn.ReLU(),
                ]
                c_in = c_out
            layers.append(MAX_POOLS[dims](2))
        self.input_shape = tuple(input_shape)
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(c_in * pooled_positions(input_shape, 2), classes)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (B, classes)."""
        features = self.features(x.reshape(-1, *self.input_shape))
        out: Tensor = self.head(torch.flatten(features, 1))
        return out
