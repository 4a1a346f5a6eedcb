"""LeNet-like convolutional net for small images and signals."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

CONVOLUTIONS: dict[int, type[nn.Conv1d] | type[nn.Conv2d]] = {1: nn.Conv1d, 2: nn.Conv2d}
BATCH_NORMS: dict[int, type[nn.Module]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
MAX_POOLS: dict[int, type[nn.MaxPool1d] | type[nn.MaxPool2d]] = {1: nn.MaxPool1d, 2: nn.MaxPool2d}


class SmallConvNet(nn.Module):
    """Convolutions of width 3 with ReLU and 2-fold max pooling, then one linear layer.

    Inputs are (B, C, H, W) or (B, C, L) as ``input_shape`` says, or the same flattened to (B, -1);
    outputs are (B, classes).

    Args:
        input_shape: (C, H, W) of an image or (C, L) of a signal.
        channels: filters of each convolution.
        classes: number of outputs.

    Raises:
        ValueError: input_shape is not 2 or 3 positive numbers, is too small for the poolings, or a
            number of channels or classes is below 1.

    Example:
        >>> SmallConvNet((1, 8, 8))(torch.zeros(5, 64)).shape
        torch.Size([5, 10])
    """

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 8, 8),
        channels: Sequence[int] = (8, 16),
        classes: int = 10,
    ) -> None:
        super().__init__()
        check_input_shape(input_shape, halvings=len(channels))
        if not channels or min(channels) < 1 or classes < 1:
            raise ValueError(f"channels={tuple(channels)}, classes={classes}; allowed: each >= 1")
        dims = len(input_shape) - 1
        layers: list[nn.Module] = []
        for c_in, c_out in zip([input_shape[0], *channels], channels, strict=False):
            layers += [
                CONVOLUTIONS[dims](c_in, c_out, 3, padding=1),
                nn.ReLU(),
                MAX_POOLS[dims](2),
            ]
        self.input_shape = tuple(input_shape)
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels[-1] * pooled_positions(input_shape, len(channels)), classes)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (B, classes)."""
        features = self.features(x.reshape(-1, *self.input_shape))
        out: Tensor = self.head(torch.flatten(features, 1))
        return out


def image_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """What a convolutional net takes a sample of this shape for, with its channels first.

    (C, H, W) and (C, L) stay; (L,) is a signal of one channel, but for the 64 pixels of a
    scikit-learn digit, which are an image.

    >>> image_shape((64,)), image_shape((40,)), image_shape((3, 32, 32))
    ((1, 8, 8), (1, 40), (3, 32, 32))
    """
    if tuple(shape) == (64,):
        return (1, 8, 8)
    return tuple(shape) if len(shape) > 1 else (1, *shape)


def check_input_shape(input_shape: Sequence[int], halvings: int) -> None:
    """Refuse a shape that is not (C, L) or (C, H, W) or vanishes after so many halvings.

    Raises:
        ValueError: as said.
    """
    if len(input_shape) not in (2, 3) or min(input_shape) < 1:
        raise ValueError(
            f"input_shape={tuple(input_shape)}; allowed: (C, H, W) or (C, L), each >= 1"
        )
    if min(input_shape[1:]) < 2**halvings:
        raise ValueError(
            f"input_shape={tuple(input_shape)} is too small for {halvings} two-fold poolings; "
            f"every side must be at least {2**halvings}"
        )


def pooled_positions(input_shape: Sequence[int], halvings: int) -> int:
    """Number of positions left of a (C, L) or (C, H, W) input after so many two-fold poolings."""
    positions = 1
    for side in input_shape[1:]:
        positions *= side >> halvings
    return positions
