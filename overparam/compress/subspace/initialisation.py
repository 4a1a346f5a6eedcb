"""Initial weights theta0 that a seed alone determines."""

import math
from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from overparam.compress.subspace.philox import PhiloxStream

# Projections use streams from 0 upwards, one per layer at most; this one never meets them.
_STREAM = 2**32
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_KERNELS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED)
_NORMS = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
    *(nn.LayerNorm, nn.GroupNorm, nn.RMSNorm),
)


@torch.no_grad()
def he_normal(model: nn.Module, seed: int) -> nn.Module:
    """Draw the weights of a model in place: He-normal kernels, zero biases, unit norm scales.

    Kernels of linear and convolution layers are N(0, 2 / fan_in), embeddings N(0, 1), drawn from
    Philox in ``named_modules`` order, so that the same seed gives the same weights on every device
    and library version (He et al. 2015, equation 10; the initialisation of Li et al. 2018's code).
    Frozen parameters are left alone.

    Args:
        model: Built from linear, convolution, embedding and normalisation layers.
        seed: Philox key.

    Returns:
        The model itself.

    Raises:
        ValueError: A trainable parameter belongs to another kind of layer; nothing is changed then.
    """
    plan: list[tuple[Tensor, float | None, float]] = []
    seen: set[int] = set()
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            plan.append((parameter, *_rule(module, name, parameter, prefix)))
    draws = PhiloxStream(seed, _STREAM)
    for parameter, deviation, constant in plan:
        if deviation is None:
            parameter.fill_(constant)
        else:
            values = torch.from_numpy(draws.normals(parameter.numel()) * deviation)
            parameter.copy_(values.view(parameter.shape))
    return model


def he_normal_members(model: nn.Module, seeds: Sequence[int]) -> list[nn.Module]:
    """Copies of a network for an ensemble, each drawn by :func:`he_normal` from its own seed.

    Raises:
        ValueError: what :func:`he_normal` refuses.
    """
    return [he_normal(deepcopy(model), seed) for seed in seeds]


def _rule(
    module: nn.Module, name: str, parameter: Tensor, prefix: str
) -> tuple[float | None, float]:
    """Standard deviation of the normal draw, or None and the constant to fill in."""
    if isinstance(module, _KERNELS):
        if name == "bias":
            return None, 0.0
        fan_in = parameter[0].numel()
        if isinstance(module, _TRANSPOSED):
            fan_in = parameter.shape[0] * parameter[0, 0].numel() // module.groups
        return math.sqrt(2.0 / fan_in), 0.0
    if isinstance(module, nn.Embedding):
        return 1.0, 0.0
    if isinstance(module, _NORMS):
        return None, 0.0 if name == "bias" else 1.0
    path = f"{prefix}.{name}" if prefix else name
    raise ValueError(
        f"cannot initialise parameter {path!r} of a {type(module).__name__} from a seed; allowed "
        "are linear, convolution, embedding and normalisation layers. Initialise the model "
        "yourself and leave out init_seed"
    )
