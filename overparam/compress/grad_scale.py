r"""Gradient scaling of shared parameters: steps on z that move w as plain training would.

With :math:`w_i = \lambda_i g_i z_{h(i)}` a gradient step on z moves :math:`w_i` about
:math:`\lambda^2` times as far as the same step on w: a small initialisation range of z (large
:math:`\lambda`) diverges, a large one freezes. STABLE-RPS (Desai & Shrivastava, ICLR 2024) divides
the gradient of z by :math:`\Gamma` before the optimiser sees it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from overparam.training import Callback, Fit

Formula = Callable[[Tensor, Tensor, Tensor], Tensor]

_FORMULAS: dict[str, Formula] = {
    "v1": lambda total, squares, count: total.square() / count,
    "v2": lambda total, squares, count: total,
    "v3": lambda total, squares, count: total / count,
    "v4": lambda total, squares, count: squares.sqrt(),
    "v5": lambda total, squares, count: squares,
    "none": lambda total, squares, count: torch.ones_like(count),
}
GRAD_SCALES = tuple(_FORMULAS)
GUARDS = ("relative", "official", "none")


def rps_grad_scale(
    idx: Tensor, lam: Tensor | float, m: int, mode: str = "v1", guard: str = "relative"
) -> Tensor:
    r"""Divisor :math:`\Gamma` of the gradient of each real weight.

    With sums over the virtual weights i of bucket k:

    ========  ====================================================
    ``v1``    :math:`(\sum \lambda_i)^2 / \mathrm{count}_k`
    ``v2``    :math:`\sum \lambda_i`
    ``v3``    :math:`\sum \lambda_i / \mathrm{count}_k`
    ``v4``    :math:`(\sum \lambda_i^2)^{1/2}`
    ``v5``    :math:`\sum \lambda_i^2` (the published code runs v4 under this name)
    ``none``  1
    ========  ====================================================

    Guards against division by nearly nothing: ``"relative"`` never lets :math:`\Gamma` fall below
    1e-6 of its mean over used buckets, which keeps training independent of the range of z;
    ``"official"`` adds 1e-3 to the count and 1e-6 to :math:`\Gamma`, as the published code does;
    ``"none"`` leaves the formula alone. An unused bucket has :math:`\Gamma = 1` (official: 1e-6).

    Args:
        idx: bucket of each virtual weight, integer (n,).
        lam: scale of each virtual weight >= 0, (n,), or one number; entries with scale 0 do not
            count.
        m: number of buckets.
        mode: ``"v1"`` to ``"v5"`` or ``"none"``.
        guard: ``"relative"``, ``"official"`` or ``"none"``.

    Returns:
        float64 tensor (m,).

    Raises:
        ValueError: unknown mode or guard, an index outside 0..m-1, a scale that is negative or not
            finite.
    """
    check_grad_scale(mode, guard)
    if idx.numel() and not 0 <= int(idx.min()) <= int(idx.max()) < m:
        raise ValueError(f"idx spans {int(idx.min())}..{int(idx.max())}; allowed 0..{m - 1}")
    lam = torch.as_tensor(lam, dtype=torch.float64, device=idx.device).expand(idx.shape)
    if not bool((torch.isfinite(lam) & (lam >= 0)).all()):
        raise ValueError("lam has entries that are negative or not finite; allowed are scales >= 0")
    index = idx.long()
    empty = lam.new_zeros(m)
    count = empty.index_add(0, index, (lam > 0).to(lam))
    total, squares = empty.index_add(0, index, lam), empty.index_add(0, index, lam.square())
    if guard == "official":
        return _FORMULAS[mode](total, squares, count + 1e-3) + 1e-6
    used = count > 0
    gamma = torch.where(used, _FORMULAS[mode](total, squares, count), 1.0)
    if guard == "relative" and bool(used.any()):
        gamma = torch.where(used, gamma.clamp(min=1e-6 * float(gamma[used].mean())), gamma)
    return gamma


def check_grad_scale(mode: str, guard: str) -> None:
    """Refuse unknown names of modes and guards with a ``ValueError``."""
    if mode not in GRAD_SCALES:
        raise ValueError(f"grad_scale mode is {mode!r}; allowed {GRAD_SCALES}")
    if guard not in GUARDS:
        raise ValueError(f"guard is {guard!r}; allowed {GUARDS}")


def scale_step(gradient: Tensor, gamma: Tensor) -> Tensor:
    r"""The gradient to step with, :math:`\nabla_z L / \Gamma`; shapes (m,) or stacked (E, m)."""
    return gradient / gamma


class GradientScaling(Callback):
    """Callback of :func:`overparam.training.fit`: scales the stacked gradients of shared models.

    It acts after backward and before the step, hence before momentum and weight decay. Every
    parameter
    ``shared`` with a buffer ``grad_scale`` beside it is scaled.
    """

    def on_gradients(self, fit: Fit) -> None:
        """Divide the gradients in place.

        Raises:
            ValueError: the ensemble holds no shared model.
        """
        if not _scale_gradients(fit.ensemble.parameters, fit.ensemble.buffers):
            raise ValueError(
                "GradientScaling in an ensemble without shared models: no 'shared' parameter"
            )


def attach_gradient_scaling(optimizer: torch.optim.Optimizer, model: nn.Module) -> RemovableHandle:
    """Let any torch optimiser step with scaled gradients of the shared parameters of ``model``.

    The scaling runs once at the start of every ``step`` (with a closure: after it, whenever it is
    called), so it comes before momentum and weight decay, and gradients accumulated over several
    backward passes are scaled once. Adam and other scale-free optimisers are invariant to it.

    Args:
        optimizer: an optimiser that holds the ``shared`` parameter of every shared model.
        model: a model from :func:`share_parameters`, or one that contains such models.

    Returns:
        A handle; its ``remove()`` takes the scaling off again.

    Raises:
        ValueError: ``model`` shares nothing, the optimiser holds other parameters only, or the
            scaling is attached already.

    Example:
        >>> from overparam.compress.sharing import share_parameters
        >>> model = share_parameters(nn.Linear(8, 8), 4, seed=0)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        >>> handle = attach_gradient_scaling(optimizer, model)
    """
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    pairs = _shared_pairs(parameters, buffers)
    if not pairs:
        raise ValueError("model has no shared parameters; make it with share_parameters")
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for name, _ in pairs:
        if id(parameters[name]) not in held:
            raise ValueError(
                f"the optimiser does not hold {name!r}, so grad_scale would do nothing; "
                "give it model.parameters() of the shared model"
            )
    for hook in optimizer._optimizer_step_pre_hooks.values():
        if isinstance(hook, _ScaleBeforeStep) and hook.model is model:
            raise ValueError("gradient scaling is attached to this optimiser and model already")
    return optimizer.register_step_pre_hook(_ScaleBeforeStep(model))


class _ScaleBeforeStep:
    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(
        self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None:
            self._scale()
            return None

        def scaled() -> Any:
            loss = closure()
            self._scale()
            return loss

        return args[:1], {**kwargs, "closure": scaled}

    def _scale(self) -> None:
        # Looked up anew: load_state_dict and .to() replace the buffers.
        _scale_gradients(dict(self.model.named_parameters()), dict(self.model.named_buffers()))


def _shared_pairs(
    parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor]
) -> list[tuple[str, str]]:
    pairs = []
    for name in parameters:
        prefix, dot, last = name.rpartition(".")
        if last == "shared" and f"{prefix}{dot}grad_scale" in buffers:
            pairs.append((name, f"{prefix}{dot}grad_scale"))
    return pairs


def _scale_gradients(parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor]) -> bool:
    pairs = _shared_pairs(parameters, buffers)
    for name, gamma in pairs:
        gradient = parameters[name].grad
        if gradient is not None:
            gradient.copy_(scale_step(gradient, buffers[gamma]))
    return bool(pairs)
