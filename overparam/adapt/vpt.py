"""Visual prompt tuning: learned tokens beside the patches of a frozen vision transformer."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from overparam.adapt.attach import attach_before
from overparam.adapt.targets import Head, freeze_except, head_parameters

NAME = "prompts"


class Prompts(nn.Module):
    """Learned tokens that enter a block behind the leading special tokens.

    Args:
        values: start values, (n_prompts, dim).
        prefix: leading special tokens (class token), which stay in front.
        replace: overwrite the prompts of the block before (deep) instead of inserting.
    """

    def __init__(self, values: Tensor, prefix: int, replace: bool) -> None:
        super().__init__()
        self.prefix, self.replace = prefix, replace
        self.tokens = nn.Parameter(values)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens with these prompts: (B, N, dim) to (B, N + n, dim), or the same shape."""
        n, dim = self.tokens.shape
        prompts = self.tokens.expand(x.shape[0], n, dim)
        rest = self.prefix + (n if self.replace else 0)
        return torch.cat([x[:, : self.prefix], prompts, x[:, rest:]], dim=1)

    def extra_repr(self) -> str:
        """Show number, width and place in the printed model."""
        n, dim = self.tokens.shape
        return f"{n}, {dim}, prefix={self.prefix}, replace={self.replace}"


class DropPrompts(nn.Module):
    """Take the prompts out again, so that pooling sees patches alone."""

    def __init__(self, n_prompts: int, prefix: int) -> None:
        super().__init__()
        self.n_prompts, self.prefix = n_prompts, prefix

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, N, dim) from (B, N + n, dim)."""
        return torch.cat([x[:, : self.prefix], x[:, self.prefix + self.n_prompts :]], dim=1)


def prepend_prompts(module: nn.Module, args: Any) -> tuple[Any, ...]:
    """Forward pre-hook of a block with prompts."""
    return (module.prompts(args[0]), *args[1:])  # type: ignore[operator]


def vpt(
    model: nn.Module,
    n_prompts: int,
    deep: bool = False,
    *,
    blocks: str = "blocks",
    prefix: int | None = None,
    head: Head = "auto",
    seed: int = 0,
) -> nn.Module:
    """Add prompts to a vision transformer and freeze all but prompts and head, in place.

    Jia et al. 2022 (arXiv 2203.12119): shallow prompts enter before the first block and are
    carried along (equations 4 and 5); deep ones are overwritten with own prompts before every
    block (equation 6). After the last block they are dropped: a class token is not affected, mean
    pooling sees patches alone. Start: uniform within `sqrt(6 / (patch numbers + dim))`, the
    Xavier bound of the patch embedding.

    Args:
        model: a vision transformer with `patch_embed.proj` and a sequence of blocks on
            `(B, N, dim)`, for instance `TinyViT` or timm's.
        n_prompts: prompts per block, at least 1.
        deep: own prompts in every block.
        blocks: name of the sequence of blocks.
        prefix: leading special tokens; None reads the model's `num_prefix_tokens`.
        head: see `overparam.adapt.targets.resolve_heads`; it stays trainable.
        seed: seed of the start.

    Raises:
        RuntimeError: the model already has prompts.
        ValueError: `n_prompts` < 1, or the model has no such blocks, patch embedding or
            `num_prefix_tokens`.
    """
    if n_prompts < 1:
        raise ValueError(f"n_prompts must be at least 1, got {n_prompts}")
    if any(isinstance(module, Prompts) for module in model.modules()):
        raise RuntimeError(f"{type(model).__name__} already has prompts")
    named = dict(model.named_modules())
    sequence, embed = named.get(blocks), named.get("patch_embed.proj")
    if not isinstance(sequence, (nn.Sequential, nn.ModuleList)) or not len(sequence):
        raise ValueError(f"blocks={blocks!r} is no sequence of blocks of {type(model).__name__}")
    if not isinstance(embed, (nn.Conv2d, nn.Linear)):
        raise ValueError(f"{type(model).__name__} has no patch_embed.proj (convolution or linear)")
    if prefix is None:
        prefix = getattr(model, "num_prefix_tokens", None)
    if not isinstance(prefix, int) or prefix < 0:
        raise ValueError(f"prefix must be a number of leading tokens, got {prefix!r}")
    trained_head = head_parameters(model, head)

    dim, patch = embed.weight.shape[0], embed.weight[0].numel()
    bound = math.sqrt(6 / (patch + dim))
    generator = torch.Generator().manual_seed(seed)
    trained: list[Tensor] = []
    for index, block in enumerate(list(sequence)[: None if deep else 1]):
        draw = torch.rand(n_prompts, dim, generator=generator, device="cpu")
        values = ((2 * draw - 1) * bound).to(embed.weight.device, embed.weight.dtype)
        prompts = Prompts(values, prefix, replace=index > 0)
        attach_before(block, NAME, prompts, prepend_prompts)
        trained += prompts.parameters()
    last = sequence[len(sequence) - 1]
    last.add_module("drop_prompts", DropPrompts(n_prompts, prefix))
    last.register_forward_hook(drop_prompts)
    freeze_except(model, [*trained, *trained_head])
    return model


def drop_prompts(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    """Forward hook of the last block of a model with prompts."""
    dropped: Tensor = module.drop_prompts(output)  # type: ignore[operator]
    return dropped
