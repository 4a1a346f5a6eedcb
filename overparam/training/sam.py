"""SAM: sharpness-aware minimisation, two gradients a step.

References: Foret, Kleiner, Mobahi and Neyshabur, ICLR 2021, arXiv 2010.01412, Algorithm 1; adaptive
form (ASAM): Kwon, Kim, Park and Choi, ICML 2021, arXiv 2102.11600, Algorithm 1.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from overparam.training.running import Callback, Fit

ASAM_ETA = 0.01  # keeps small weights movable, as in the paper's experiments


def ascent(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    rho: float | Tensor,
    *,
    adaptive: bool = False,
    stacked: bool = False,
) -> list[Tensor]:
    r"""The step to the worst point nearby, to first order.

    .. math:: e = \rho \frac{g}{\|g\|}, \qquad \text{adaptive: }
              e = \rho \frac{T^2 g}{\|T g\|}, \; T = |\theta| + \eta

    with one norm over all tensors. A zero gradient gives a zero step.

    Args:
        parameters: tensors (...), or (E, ...) when ``stacked``.
        gradients: theirs.
        rho: radius, one or (E,).
        adaptive: scale each weight's step by its size.
        stacked: the leading axis holds members, each with its own norm.

    Returns:
        e, one tensor per parameter.
    """
    scales: Sequence[Tensor | float] = [1.0] * len(parameters)
    if adaptive:
        scales = [p.detach().abs() + ASAM_ETA for p in parameters]
    scaled = [t * g for t, g in zip(scales, gradients, strict=True)]
    squares = [s.square().reshape(len(s) if stacked else 1, -1).sum(1) for s in scaled]
    norm = torch.stack(squares).sum(0).sqrt()
    factor = torch.as_tensor(rho, dtype=norm.dtype, device=norm.device) / norm
    factor = torch.where(norm == 0, 0, factor)
    return [
        t * s * factor.reshape(-1, *(1,) * (s.ndim - 1)) if stacked else t * s * factor[0]
        for t, s in zip(scales, scaled, strict=True)
    ]


class SAM(Callback):
    r"""Steps with the gradient at :math:`\theta + e`, see :func:`ascent`.

    Weight decay and momentum act on the unperturbed weights, and BatchNorm's statistics move in the
    first pass alone. In an ensemble every member has its own norm.

    In the common loop it is a callback, ``SAM(rho=0.05)``. In a loop of your own::

        sam = SAM(model, torch.optim.SGD(model.parameters(), lr=0.1), rho=0.05)

        def closure():
            sam.base.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            return loss

        loss = sam.step(closure)

    Args:
        params: the network, or its parameters (then BatchNorm's statistics are not known here and
            move in both passes).
        base: the optimiser that makes the step.
        rho: radius > 0; in the common loop also one per member.
        adaptive: ASAM.

    Raises:
        ValueError: rho <= 0.
    """

    def __init__(
        self,
        params: nn.Module | Iterable[Tensor] = (),
        base: torch.optim.Optimizer | None = None,
        rho: float | Sequence[float] | Tensor = 0.05,
        adaptive: bool = False,
    ) -> None:
        self.rho = torch.as_tensor(rho, dtype=torch.float64)
        if self.rho.ndim > 1 or not bool(((self.rho > 0) & self.rho.isfinite()).all()):
            raise ValueError(f"rho={rho}; allowed: finite numbers > 0")
        self.adaptive, self.base = adaptive, base
        self._params = list(params.parameters() if isinstance(params, nn.Module) else params)
        self._buffers = list(params.buffers()) if isinstance(params, nn.Module) else []

    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        """One step in a loop of your own.

        Args:
            closure: clears the gradients, computes the loss of the batch, calls ``backward`` and
                returns the loss; called twice.

        Returns:
            The loss at the unperturbed weights.

        Raises:
            ValueError: there is no ``base``, no parameters, or several rho.
        """
        if self.base is None or not self._params or self.rho.ndim:
            raise ValueError(
                f"base={self.base}, {len(self._params)} parameters, rho={self.rho.tolist()}; "
                "outside the common loop SAM needs an optimiser, the parameters and one rho"
            )
        loss = closure().detach()
        statistics = [buffer.clone() for buffer in self._buffers]
        moved, kept = self._climb(self._params, stacked=False)
        closure()
        _restore(moved, kept)
        _restore(self._buffers, statistics)
        self.base.step()
        return loss

    def on_gradients(self, fit: Fit) -> None:
        """Replace the gradients by those at the perturbed weights.

        Raises:
            ValueError: rho has neither one value nor one per member.
        """
        if self.rho.ndim and len(self.rho) != fit.ensemble.size:
            raise ValueError(
                f"rho has {len(self.rho)} values; allowed: one, or {fit.ensemble.size} members'"
            )
        moved, kept = self._climb(fit.ensemble.trainable(), stacked=True)
        fit.gradients(update_buffers=False)
        _restore(moved, kept)

    @torch.no_grad()
    def _climb(
        self, parameters: Sequence[Tensor], *, stacked: bool
    ) -> tuple[list[Tensor], list[Tensor]]:
        moved, gradients = [], []
        for parameter in parameters:
            if parameter.grad is not None:
                moved.append(parameter)
                gradients.append(parameter.grad)
        # Adding and subtracting e would not give back the same floats.
        kept = [parameter.clone() for parameter in moved]
        steps = ascent(moved, gradients, self.rho, adaptive=self.adaptive, stacked=stacked)
        for parameter, step in zip(moved, steps, strict=True):
            parameter.add_(step)
        return moved, kept


@torch.no_grad()
def _restore(tensors: Sequence[Tensor], kept: Sequence[Tensor]) -> None:
    for tensor, old in zip(tensors, kept, strict=True):
        tensor.copy_(old)
