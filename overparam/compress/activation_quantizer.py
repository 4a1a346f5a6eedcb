"""Activations on a learned grid: LSQ with QDrop."""

import torch
from torch import Tensor, nn

from overparam.compress.packing import check_bits
from overparam.compress.quantisation_grid import Grid

SHARES = range(100, 0, -1)


class ActivationQuantizer(nn.Module):
    r"""Round what flows into a layer, per tensor, with a scale that is learned.

    :meth:`calibrate` sets the range, -2^(bits-1)..2^(bits-1)-1 if an entry is negative and else
    0..2^bits-1, and the scale by a clip search in the 2.4-norm. Then, with
    :math:`v = \mathrm{clip}(x/s, l, u)`, the output is :math:`\mathrm{round}(v)\,s` with the
    gradients of LSQ (Esser et al. 2020, equations 3 and 5): for x, 1 inside the range and 0
    outside; for s, round(v) - v inside and the clip level outside.

    In train mode every entry stays as it is with probability ``drop`` (QDrop, Wei et al. 2022),
    drawn from ``generator``.

    Args:
        bits: 2..8.
        drop: in [0, 1].
        generator: of the entries that stay, on the activations' device; needed in train mode unless
            ``drop`` is 0.

    Raises:
        ValueError: ``bits`` or ``drop`` out of range.
    """

    def __init__(
        self, bits: int, drop: float = 0.5, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        check_bits(bits)
        check_probability("drop", drop)
        self.bits = bits
        self.drop = drop
        self.generator = generator
        self.signed: bool | None = None
        self.scale: nn.Parameter | None
        self.register_parameter("scale", None)

    @property
    def levels(self) -> tuple[int, int]:
        """Smallest and largest integer."""
        self._check_calibrated()
        half = 2 ** (self.bits - 1)
        return (-half, half - 1) if self.signed else (0, 2**self.bits - 1)

    @torch.no_grad()
    def calibrate(self, x: Tensor, power: float = 2.4) -> None:
        r"""Set range and scale for activations like ``x``.

        Of :math:`s = c R / (2^{bits} - 1)`, R the range -max|x|..max|x| or 0..max x, c = 1.00, ..,
        0.01, the one with the smallest mean :math:`|x - q(x)|^{power}`; a smaller c must be
        strictly better. Where all of x is 0 the scale is 1.

        Raises:
            ValueError: ``x`` is empty or has an entry that is not finite.
        """
        if not x.numel():
            raise ValueError("the activation quantiser was calibrated with no entry at all")
        if not bool(x.isfinite().all()):
            raise ValueError("activations of the calibration set have entries NaN or infinite")
        self.signed = bool(x.min() < 0)
        widest = x.abs().amax() * (2 if self.signed else 1) / (2**self.bits - 1)
        zero = torch.tensor(2 ** (self.bits - 1) if self.signed else 0, dtype=torch.uint8)
        best = widest if widest > 0 else torch.ones_like(widest)
        lowest = torch.inf
        for percent in SHARES if widest > 0 else ():
            grid = Grid(widest * (percent / 100), zero.to(x.device), self.bits, signed=self.signed)
            error = float((x - grid.values(grid.codes(x))).abs().pow(power).mean())
            if error < lowest:
                best, lowest = grid.scale, error
        self.scale = nn.Parameter(best.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Rounded activations, of the shape of ``x``.

        Raises:
            RuntimeError: before :meth:`calibrate`, or in train mode without a generator.
        """
        low, high = self.levels
        assert self.scale is not None
        inside = (x / self.scale).clamp(low, high)
        rounded = (inside + (inside.round() - inside).detach()) * self.scale
        if not self.training or self.drop == 0:
            return rounded
        if self.generator is None:
            raise RuntimeError("the activation quantiser drops entries: it needs a generator")
        draw = torch.rand(x.shape, generator=self.generator, device=x.device, dtype=x.dtype)
        return torch.where(draw < self.drop, x, rounded)

    def _check_calibrated(self) -> None:
        if self.scale is None:
            raise RuntimeError("the activation quantiser has no scale yet: calibrate() it first")


def check_probability(name: str, value: float) -> None:
    """Refuse with ``ValueError`` what is no probability."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}; allowed 0 <= {name} <= 1")
