"""LoRA: a trained low-rank update beside each chosen linear map."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from overparam.adapt.attach import attach, check_alone, detach
from overparam.adapt.targets import (
    Head,
    freeze_except,
    head_parameters,
    match_modules,
    resolve_heads,
)

NAME = "lora"


class LowRank(nn.Module):
    """`delta(x) = (alpha / rank) up(down(x))`, zero at the start.

    Hu et al. 2022 (arXiv 2106.09685), section 4.1: `down` is Kaiming-uniform with a = sqrt(5),
    `up` is zero.

    Args:
        in_features: width of the input.
        out_features: width of the output.
        rank: r, from 1 to the smaller of both widths.
        alpha: numerator of the factor.
        generator: source of the start.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        rank: int,
        alpha: float,
        generator: torch.Generator | None = None,
    ) -> None:
        if not 1 <= rank <= min(in_features, out_features):
            raise ValueError(
                f"rank must be from 1 to min({in_features}, {out_features}), got {rank}"
            )
        super().__init__()
        self.rank, self.alpha = rank, alpha
        # Kaiming-uniform with a = sqrt(5) has the bound 1 / sqrt(fan in).
        bound = 1 / math.sqrt(in_features)
        draw = torch.rand(rank, in_features, generator=generator, device="cpu")
        self.down = nn.Parameter((2 * draw - 1) * bound)
        self.up = nn.Parameter(torch.zeros(out_features, rank, device="cpu"))

    def delta(self) -> Tensor:
        """Return the update of the weight, (out, in)."""
        return (self.alpha / self.rank) * (self.up @ self.down)

    def forward(self, x: Tensor) -> Tensor:
        """Return the update's output without building its matrix."""
        return F.linear(F.linear(x, self.down), self.up) * (self.alpha / self.rank)

    def extra_repr(self) -> str:
        """Show rank and alpha in the printed model."""
        return f"rank={self.rank}, alpha={self.alpha}"


def apply_lora(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    """Forward hook of a linear map with a low-rank update."""
    updated: Tensor = output + module.lora(args[0])  # type: ignore[operator]
    return updated


def inject_lora(
    model: nn.Module,
    targets: Sequence[str] | None = None,
    *,
    rank: int = 4,
    alpha: float | None = None,
    head: Head = "auto",
    seed: int = 0,
) -> nn.Module:
    """Put a low-rank update beside linear maps and freeze all but updates and head, in place.

    At the start outputs are bit-equal to the base's.

    Args:
        model: the pretrained network.
        targets: shell patterns of names of `nn.Linear`; None for all but the head.
        rank: rank of every update.
        alpha: numerator of the update's factor; None for `rank`, a factor of 1.
        head: see `overparam.adapt.targets.resolve_heads`; it stays trainable.
        seed: seed of the start.

    Raises:
        RuntimeError: the model already has updates.
        ValueError: a pattern matches no linear map, or `rank` is too large for one.
    """
    if any(isinstance(module, LowRank) for module in model.modules()):
        raise RuntimeError(f"{type(model).__name__} already has LoRA updates; merge_lora it first")
    heads = resolve_heads(model, head)
    names = match_modules(model, ("*",) if targets is None else targets, nn.Linear)
    names = [name for name in names if targets is not None or name not in heads]
    if not names:
        raise ValueError(f"{type(model).__name__} has no linear map besides the head")
    for name in names:
        parent = model.get_submodule(name.rpartition(".")[0])
        if isinstance(parent, nn.MultiheadAttention):
            raise ValueError(f"{name!r} is read, not called, by nn.MultiheadAttention")
    generator = torch.Generator().manual_seed(seed)
    built: dict[str, LowRank] = {}
    for name in names:
        linear = model.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        update = LowRank(
            linear.in_features,
            linear.out_features,
            rank,
            float(rank if alpha is None else alpha),
            generator,
        )
        built[name] = update.to(linear.weight.device, linear.weight.dtype)
    for name, update in built.items():
        attach(model.get_submodule(name), NAME, update, apply_lora)
    trained = [parameter for update in built.values() for parameter in update.parameters()]
    freeze_except(model, [*trained, *head_parameters(model, head)])
    return model


@torch.no_grad()
def merge_lora(model: nn.Module) -> nn.Module:
    """Return a plain copy with every update added to its weight: `W' = W + (alpha/r) up down`.

    Raises:
        ValueError: the model has no updates.
        RuntimeError: a linear map carries another addition.
    """
    updated = [name for name, m in model.named_modules() if isinstance(m, LowRank)]
    if not updated:
        raise ValueError(f"{type(model).__name__} has no LoRA updates to merge")
    for name in (name.removesuffix(NAME).rstrip(".") for name in updated):
        check_alone(name, model.get_submodule(name), NAME)
    merged = copy.deepcopy(model)
    for module in list(merged.modules()):
        update = getattr(module, NAME, None)
        if isinstance(module, nn.Linear) and isinstance(update, LowRank):
            module.weight.add_(update.delta())
            detach(module, NAME, apply_lora)
    return merged
