"""Baselines that add nothing and train a part of what is there: all, biases, norms, head."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from overparam.adapt.targets import Head, freeze_except, head_parameters


def full_tuning(model: nn.Module) -> nn.Module:
    """Train every parameter, in place; return the model."""
    freeze_except(model, model.parameters())
    return model


def linear_probe(model: nn.Module, *, head: Head = "auto") -> nn.Module:
    """Train the head alone, in place; return the model.

    Raises:
        ValueError: the model has no head with parameters.
    """
    freeze_except(model, _needed(head_parameters(model, head), "head", model))
    return model


def bitfit(model: nn.Module, *, head: Head = "auto") -> nn.Module:
    """Train every existing bias and the head, in place; return the model.

    Biases of linear maps, convolutions and norms, and the input-projection bias of
    `nn.MultiheadAttention`. Ben Zaken, Goldberg, Ravfogel 2022 (arXiv 2106.10199).

    Raises:
        ValueError: the model has no bias, or no head can be recognised.
    """
    biases = [
        parameter
        for name, parameter in model.named_parameters()
        if name.rpartition(".")[2] in ("bias", "in_proj_bias")
    ]
    freeze_except(model, [*_needed(biases, "bias", model), *head_parameters(model, head)])
    return model


def norm_tune(model: nn.Module, *, head: Head = "auto") -> nn.Module:
    """Train the affine parameters of every normalisation layer and the head, in place.

    Raises:
        ValueError: no normalisation layer has affine parameters, or no head can be recognised.
    """
    kinds = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, _BatchNorm)
    affine = [
        parameter
        for module in model.modules()
        if isinstance(module, kinds)
        for parameter in module.parameters(recurse=False)
    ]
    freeze_except(model, [*_needed(affine, "norm affine", model), *head_parameters(model, head)])
    return model


def _needed(parameters: Sequence[Tensor], what: str, model: nn.Module) -> Sequence[Tensor]:
    if not parameters:
        raise ValueError(f"{type(model).__name__} has no {what} parameter to train")
    return parameters
