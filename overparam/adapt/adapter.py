"""Bottleneck adapters: a small two-layer network after, or beside, each chosen part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from overparam.adapt.attach import attach
from overparam.adapt.targets import Head, freeze_except, head_parameters, match_modules

NAME = "adapter"
Mode = Literal["sequential", "parallel"]


class BottleneckAdapter(nn.Module):
    """`A(z) = up(gelu(down(z)))` over the last axis, zero at the start.

    Houlsby et al. 2019 (arXiv 1902.00751). Only `up` and the biases start at zero: with `down` zero
    as well, the gradients of both matrices would be zero for ever.

    Args:
        dim: width of input and output.
        bottleneck: width between, at least 1.
        mode: "sequential" adds A(output), "parallel" adds A(input) to the output of the part.
        generator: source of the start.
    """

    def __init__(
        self,
        dim: int,
        bottleneck: int,
        mode: Mode = "sequential",
        generator: torch.Generator | None = None,
    ) -> None:
        if bottleneck < 1:
            raise ValueError(f"bottleneck must be at least 1, got {bottleneck}")
        if mode not in ("sequential", "parallel"):
            raise ValueError(f"mode is 'sequential' or 'parallel', got {mode!r}")
        super().__init__()
        self.mode = mode
        draw = torch.rand(bottleneck, dim, generator=generator, device="cpu")
        self.down_weight = nn.Parameter((2 * draw - 1) / math.sqrt(dim))
        self.down_bias = nn.Parameter(torch.zeros(bottleneck, device="cpu"))
        self.up_weight = nn.Parameter(torch.zeros(dim, bottleneck, device="cpu"))
        self.up_bias = nn.Parameter(torch.zeros(dim, device="cpu"))

    def forward(self, z: Tensor) -> Tensor:
        """Return A(z), `(..., dim)` to `(..., dim)`."""
        hidden = F.gelu(F.linear(z, self.down_weight, self.down_bias))
        return F.linear(hidden, self.up_weight, self.up_bias)

    def extra_repr(self) -> str:
        """Show widths and mode in the printed model."""
        bottleneck, dim = self.down_weight.shape
        return f"{dim}, {bottleneck}, mode={self.mode!r}"


def apply_adapter(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    """Forward hook of a part with an adapter."""
    adapter = module.adapter
    assert isinstance(adapter, BottleneckAdapter)
    out: Tensor = output + adapter(output if adapter.mode == "sequential" else args[0])
    return out


def inject_adapters(
    model: nn.Module,
    targets: Sequence[str] = ("*.mlp",),
    *,
    bottleneck: int = 8,
    mode: Mode = "sequential",
    head: Head = "auto",
    seed: int = 0,
) -> nn.Module:
    """Add an adapter to each chosen part and freeze all but adapters and head, in place.

    `("*.mlp",)` is Pfeiffer's single place, `("*.attn", "*.mlp")` are Houlsby's two. The parts act
    on the last axis; their width is that of the last linear map inside. At the start outputs are
    bit-equal to the base's. Adapters are not linear, so they can't be merged away.

    Args:
        model: the pretrained network.
        targets: shell patterns of module names.
        bottleneck: width of every adapter.
        mode: see `BottleneckAdapter`.
        head: see `overparam.adapt.targets.resolve_heads`; it stays trainable.
        seed: seed of the start.

    Raises:
        RuntimeError: the model already has adapters.
        ValueError: a pattern matches nothing, or a part has no linear map that tells its width.
    """
    if any(isinstance(module, BottleneckAdapter) for module in model.modules()):
        raise RuntimeError(f"{type(model).__name__} already has adapters")
    generator = torch.Generator().manual_seed(seed)
    built: dict[str, BottleneckAdapter] = {}
    for name in match_modules(model, targets):
        linear = [m for m in model.get_submodule(name).modules() if isinstance(m, nn.Linear)]
        if not linear:
            raise ValueError(f"{name!r} has no linear map, so the adapter's width is unknown")
        adapter = BottleneckAdapter(linear[-1].out_features, bottleneck, mode, generator)
        built[name] = adapter.to(linear[-1].weight.device, linear[-1].weight.dtype)
    trained_head = head_parameters(model, head)
    for name, adapter in built.items():
        attach(model.get_submodule(name), NAME, adapter, apply_adapter)
    trained = [parameter for adapter in built.values() for parameter in adapter.parameters()]
    freeze_except(model, [*trained, *trained_head])
    return model
