"""Spectrum of a loss's Hessian without ever forming it: top eigenvalues and trace.

References: Lanczos by ARPACK (Lehoucq, Sorensen and Yang, 1998) through SciPy; trace estimator of
Hutchinson, 1989.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.random import Generator, Philox
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor, nn
from torch.func import functional_call

ModelLoss = Callable[[Tensor, Tensor], Tensor]
Data = tuple[Tensor, Tensor]
LARGEST_DENSE = 5000


class NotFiniteError(ValueError):
    """A loss, its gradient or a Hessian product overflowed: the weights have diverged."""


class HutchinsonTrace(NamedTuple):
    """Estimate of a trace and its standard error."""

    trace: float
    standard_error: float


class HessianProducts:
    r"""Products :math:`v \mapsto \nabla^2 L(\theta)\, v` (Pearlmutter, 1994).

    The gradient is differentiated once more for each product; its graph is kept, so that a product
    costs about one backward pass through it. The model runs in eval mode (its mode is put back);
    its weights and gradients are left alone.

    Args:
        model: any module; parameters that do not require gradients are constants.
        loss: ``loss(model(x), y)`` to a scalar, a mean over samples.
        data: x (N, ...) and y (N, ...).
        subset: at most so many samples, the first ones.

    Raises:
        ValueError: no samples, sizes that differ, nothing to differentiate, a loss that is not a
            scalar.
        NotFiniteError: the loss or, when called, a product is not finite.
    """

    def __init__(
        self, model: nn.Module, loss: ModelLoss, data: Data, *, subset: int | None = 512
    ) -> None:
        x, y = checked_data(data, subset)
        names = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not names:
            raise ValueError("model has no parameter with requires_grad=True")
        free = {name: p.detach().requires_grad_() for name, p in names.items()}
        self._parameters = list(free.values())
        self._dtype, self._device = self._parameters[0].dtype, self._parameters[0].device
        value = evaluated(model, free, loss, x, y)
        gradients = torch.autograd.grad(
            value, self._parameters, create_graph=True, materialize_grads=True
        )
        self._gradient = torch.cat([g.reshape(-1) for g in gradients])
        self.size = self._gradient.numel()
        self.products = 0

    def __call__(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """H v for a vector (P,)."""
        self.products += 1
        v = torch.as_tensor(vector.reshape(-1), dtype=self._dtype, device=self._device)
        if not self._gradient.requires_grad:  # a loss that is linear in all weights
            return np.zeros(self.size)
        out = torch.autograd.grad(
            self._gradient, self._parameters, v, retain_graph=True, materialize_grads=True
        )
        product = torch.cat([g.reshape(-1) for g in out]).double().cpu().numpy()
        if not np.isfinite(product).all():
            raise NotFiniteError("the loss's derivatives are not finite at these weights")
        return product


def hessian_top_eigenvalues(
    model: nn.Module,
    loss: ModelLoss,
    data: Data,
    k: int = 1,
    method: Literal["lanczos", "dense"] = "lanczos",
    *,
    subset: int | None = 512,
    tolerance: float = 1e-2,
    max_products: int = 300,
    seed: int = 0,
) -> NDArray[np.float64]:
    r"""The k algebraically largest eigenvalues of the training loss's Hessian.

    Lanczos takes 13 products for k = 1 on small trained nets, some 24 where it has to restart.
    ``tolerance`` bounds the residual relative to the eigenvalue; the error of a separated
    eigenvalue is of its square.

    Args:
        model, loss, data, subset: see :class:`HessianProducts`.
        k: number of eigenvalues, 1 <= k <= P.
        method: ``"lanczos"``, or ``"dense"`` (the whole matrix, up to 5,000 parameters) to check.
        tolerance: of ARPACK.
        max_products: give up after about so many products.
        seed: of the start vector.

    Returns:
        (k,) descending.

    Raises:
        ValueError: k or method out of range, or what :class:`HessianProducts` refuses.
        RuntimeError: no convergence within ``max_products``.

    Example:
        >>> model = nn.Linear(2, 1, bias=False)
        >>> x, y = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1)
        >>> hessian_top_eigenvalues(model, nn.functional.mse_loss, (x, y), method="dense").round(4)
        array([4.])
    """
    products = HessianProducts(model, loss, data, subset=subset)
    size = products.size
    if method not in ("lanczos", "dense"):
        raise ValueError(f"method={method!r}; allowed: 'lanczos', 'dense'")
    if not 1 <= k <= size:
        raise ValueError(f"k={k}; allowed 1..{size}, the number of parameters")
    # (A Krylov space that fills everything is the dense problem; ARPACK refuses it.)
    if method == "dense" or size <= 2 * k + 1:
        if size > LARGEST_DENSE:
            raise ValueError(f"method='dense' with {size} parameters; allowed <= {LARGEST_DENSE}")
        matrix = np.stack([products(unit) for unit in np.eye(size)])
        values = np.linalg.eigvalsh((matrix + matrix.T) / 2).astype(np.float64)
        return values[::-1][:k].copy()
    operator = LinearOperator((size, size), matvec=products, dtype=np.float64)
    # More vectors buy little: the top of a trained net's spectrum is well separated.
    vectors = min(size, max(2 * k + 1, 12))
    start = Generator(Philox(key=seed)).standard_normal(size)
    try:
        found: NDArray[np.float64] = eigsh(
            operator,
            k=k,
            which="LA",
            v0=start,
            ncv=vectors,
            tol=tolerance,
            maxiter=max(1, (max_products - k) // (vectors - k)) if vectors > k else 1,
            return_eigenvectors=False,
        )
    except ArpackNoConvergence as error:
        raise RuntimeError(
            f"Lanczos did not converge in {products.products} products (max_products="
            f"{max_products}, tolerance={tolerance}); raise one of them"
        ) from error
    except ArpackError:
        # A loss that is linear around the weights, as where each unit is saturated, has a Hessian
        # of zeros, from which ARPACK cannot start.
        if products(start).any():
            raise
        return np.zeros(k)
    return np.sort(found)[::-1].copy()


def hessian_trace(
    model: nn.Module,
    loss: ModelLoss,
    data: Data,
    *,
    probes: int = 30,
    subset: int | None = 512,
    seed: int = 0,
) -> HutchinsonTrace:
    r"""Trace of the Hessian as the mean of :math:`v^\top H v` over random sign vectors v.

    Unbiased; the variance is :math:`2 \sum_{i \ne j} H_{ij}^2` per probe.

    Args:
        model, loss, data, subset: see :class:`HessianProducts`.
        probes: number of sign vectors, at least 2.
        seed: of the sign vectors.

    Raises:
        ValueError: fewer than two probes, or what :class:`HessianProducts` refuses.
    """
    if probes < 2:
        raise ValueError(f"probes={probes}; allowed >= 2, for a standard error")
    products = HessianProducts(model, loss, data, subset=subset)
    rng = Generator(Philox(key=seed))
    signs = rng.integers(0, 2, size=(probes, products.size)) * 2.0 - 1.0
    values = np.array([sign @ products(sign) for sign in signs])
    return HutchinsonTrace(float(values.mean()), float(values.std(ddof=1) / probes**0.5))


def checked_data(data: Data, subset: int | None) -> Data:
    """The first ``subset`` samples; ValueError when there are none or x and y do not fit."""
    x, y = data
    if subset is not None and subset < 1:
        raise ValueError(f"subset={subset}; allowed >= 1, or None for all")
    if not len(x) or len(x) != len(y):
        raise ValueError(f"data holds {len(x)} inputs and {len(y)} targets; allowed: as many, some")
    return x[:subset], y[:subset]


def evaluated(
    model: nn.Module, parameters: dict[str, Tensor], loss: ModelLoss, x: Tensor, y: Tensor
) -> Tensor:
    """The loss in eval mode with other parameters; the model itself is left as it was.

    Raises:
        ValueError: the loss is not a scalar.
        NotFiniteError: it is not finite.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        value = loss(functional_call(model, parameters, (x,)), y)
    finally:
        for module, mode in modes:
            module.training = mode
    if value.ndim or not bool(value.isfinite()):
        refusal = ValueError if value.ndim else NotFiniteError
        raise refusal(f"loss gave {value.detach()}; allowed: a finite scalar")
    return value
