r"""Start shared weights from a trained dense network instead of at random."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from overparam.compress.shared_model import SharedModel


@torch.no_grad()
def warm_start(shared: SharedModel, dense: nn.Module) -> SharedModel:
    r"""A copy of ``shared`` whose virtual weights are as near to ``dense`` as sharing allows.

    Least squares :math:`\min_z \sum_i (w_i - \lambda g_i z_{h(i)})^2` splits by bucket:
    :math:`z_k = \sum_{i \to k} \lambda g_i w_i / \sum_{i \to k} \lambda^2`; an unused bucket keeps
    its value. Biases, norms and buffers are copied from ``dense``. Fine-tuning takes it from there.

    Args:
        shared: a model from ``share_parameters``; not changed.
        dense: a network of the architecture it was made from.

    Raises:
        ValueError: a tensor of ``dense`` is missing, surplus or has another shape.
    """
    started = deepcopy(shared)
    state = dense.state_dict()
    numerator = torch.zeros_like(started.shared, dtype=torch.float64)
    denominator = torch.zeros_like(numerator)
    for tensor, slot in enumerate(started.slots):
        for alias in slot.aliases:
            weight = state.pop(alias, None)
            if weight is None or tuple(weight.shape) != slot.shape:
                found = "no such tensor" if weight is None else f"shape {tuple(weight.shape)}"
                raise ValueError(
                    f"{alias!r}: dense has {found}, the shared model needs {slot.shape}"
                )
        index = started.bucket_index(tensor)
        scale = started.signed_scale(tensor).double()
        numerator.index_add_(0, index, scale * _flat(weight))
        denominator.index_add_(0, index, scale.square())
    _check_rest(started.skeleton.state_dict(), state)
    started.skeleton.load_state_dict(state)
    used = denominator > 0
    started.shared[used] = (numerator[used] / denominator[used]).to(started.shared.dtype)
    return started


def _flat(weight: Tensor | None) -> Tensor:
    assert weight is not None
    return weight.double().flatten()


def _check_rest(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    for name in sorted(ours.keys() ^ theirs.keys()):
        side = "missing in" if name in ours else "only in"
        raise ValueError(
            f"tensor {name!r} is {side} dense; it must have the shared model's architecture"
        )
    for name, tensor in ours.items():
        if tensor.shape != theirs[name].shape:
            raise ValueError(
                f"{name!r}: dense has shape {tuple(theirs[name].shape)}, "
                f"the shared model needs {tuple(tensor.shape)}"
            )
