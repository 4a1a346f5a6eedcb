"""The group-sums toy problem in a random subspace, solved to machine precision."""

import torch

from overparam.compress.subspace.model import SubspaceModel
from overparam.models import GroupSums
from overparam.theory import group_sum_minimum, group_sum_targets


def solve_group_sums(
    dim: int, *, seed: int, size: int = 1000, groups: int = 10, iterations: int = 500
) -> tuple[float, float]:
    """Least loss over v in R^d of the toy problem of Li et al. 2018, section 2, in float64.

    L-BFGS with a strong-Wolfe line search, because the condition number of A P reaches several
    hundred and Adam stalls above 1e-6 there.

    Args:
        dim: d.
        seed: Philox key of the dense P.
        size: D.
        groups: Number of sums to meet: the intrinsic dimension.
        iterations: Most steps of L-BFGS.

    Returns:
        The loss reached, and its closed-form minimum.

    Example:
        >>> reached, least = solve_group_sums(10, seed=0)
        >>> reached < 1e-6, abs(reached - least) < 1e-6
        (True, True)
    """
    model = SubspaceModel(GroupSums(size, groups), dim, "dense", seed=seed)
    targets = torch.from_numpy(group_sum_targets(groups))
    optimizer = torch.optim.LBFGS(
        [model.v],
        max_iter=iterations,
        max_eval=4 * iterations,
        tolerance_grad=1e-12,
        tolerance_change=1e-18,
        history_size=50,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss: torch.Tensor = (model() - targets).square().sum()
        torch.autograd.backward(loss)
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    reached = float(closure().detach())
    return reached, group_sum_minimum(model.projection.to_dense().numpy(), groups)
