"""Open `nn.MultiheadAttention` into plain linear maps, so that pairs fit between, and close it.

Torch's layer reads its projection weights without calling a module for them, so nothing can be
attached after a projection. The opened layer computes the same with four `nn.Linear`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import skip_init

from overparam.adapt.operations import linear_of


class SeparateAttention(nn.Module):
    """Multi-head attention with `q_proj`, `k_proj`, `v_proj`, `out_proj`; call as torch's layer.

    Args:
        attention: the layer whose settings and weights are taken over.

    Raises:
        ValueError: the layer has learned or zero rows added to keys and values
            (`add_bias_kv`, `add_zero_attn`).
    """

    # Torch's encoder layer looks here before it takes its fused path, which bypasses modules.
    in_proj_bias = None
    q_proj: nn.Linear
    k_proj: nn.Linear
    v_proj: nn.Linear

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        if attention.bias_k is not None or attention.add_zero_attn:
            raise ValueError("attention with add_bias_kv or add_zero_attn cannot be separated")
        super().__init__()
        self.embed_dim = attention.embed_dim
        self.num_heads = attention.num_heads
        self.dropout = attention.dropout
        self.batch_first = attention.batch_first
        if attention.in_proj_weight is not None:
            weights = attention.in_proj_weight.chunk(3)
        else:
            weights = (attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight)
        bias = attention.in_proj_bias
        biases = (None, None, None) if bias is None else bias.chunk(3)
        for name, weight, part in zip(("q", "k", "v"), weights, biases, strict=True):
            self.add_module(f"{name}_proj", linear_of(weight, part))
        self.out_proj = linear_of(attention.out_proj.weight, attention.out_proj.bias)
        self.train(attention.training)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend; arguments, layouts and result as in `nn.MultiheadAttention.forward`.

        Raises:
            ValueError: `is_causal` without `attn_mask`.
        """
        if is_causal and attn_mask is None:
            raise ValueError("is_causal needs attn_mask")
        batched = query.ndim == 3
        if not batched:
            query, key, value = (x.unsqueeze(0) for x in (query, key, value))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask[None]
        elif not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        q, k, v = (
            project(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for project, x in ((self.q_proj, query), (self.k_proj, key), (self.v_proj, value))
        )
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        if attn_mask is not None:
            extra = _additive(attn_mask, scores.dtype)
            scores = scores + (extra if extra.ndim == 2 else extra.view(scores.shape))
        if key_padding_mask is not None:
            scores = scores + _additive(key_padding_mask, scores.dtype)[:, None, None, :]
        weights = F.dropout(scores.softmax(-1), self.dropout, self.training)
        out = self.out_proj((weights @ v).transpose(1, 2).flatten(2))
        shown = (weights.mean(1) if average_attn_weights else weights) if need_weights else None
        if not batched:
            return out.squeeze(0), None if shown is None else shown.squeeze(0)
        return (out if self.batch_first else out.transpose(0, 1)), shown


def separate_attention(model: nn.Module) -> nn.Module:
    """Replace every `nn.MultiheadAttention` inside the model by `SeparateAttention`, in place.

    Raises:
        ValueError: the model has none, or one with `add_bias_kv` or `add_zero_attn`.
    """
    found = [n for n, m in model.named_modules() if n and isinstance(m, nn.MultiheadAttention)]
    if not found:
        raise ValueError(f"{type(model).__name__} contains no nn.MultiheadAttention")
    built = {}
    for name in found:
        attention = model.get_submodule(name)
        assert isinstance(attention, nn.MultiheadAttention)
        built[name] = SeparateAttention(attention)
    for name, separate in built.items():
        model.set_submodule(name, separate)
    return model


@torch.no_grad()
def rejoin_attention(model: nn.Module) -> nn.Module:
    """Turn every `SeparateAttention` back into `nn.MultiheadAttention`, in place.

    Raises:
        ValueError: the model has none.
        RuntimeError: a projection still carries a pair or another addition; merge it first.
    """
    found = [n for n, m in model.named_modules() if n and isinstance(m, SeparateAttention)]
    if not found:
        raise ValueError(f"{type(model).__name__} contains no SeparateAttention")
    built = {name: _rejoined(name, model.get_submodule(name)) for name in found}
    for name, attention in built.items():
        model.set_submodule(name, attention)
    return model


def _rejoined(name: str, separate: nn.Module) -> nn.MultiheadAttention:
    assert isinstance(separate, SeparateAttention)
    projections = [separate.q_proj, separate.k_proj, separate.v_proj, separate.out_proj]
    for projection in projections:
        if list(projection.children()):
            raise RuntimeError(f"{name}: a projection still has {projection}; merge it first")
    weights = [projection._parameters["weight"] for projection in projections]
    biases = [projection._parameters["bias"] for projection in projections]
    first = weights[0]
    assert first is not None
    attention: nn.MultiheadAttention = skip_init(  # type: ignore[no-untyped-call]
        nn.MultiheadAttention,
        separate.embed_dim,
        separate.num_heads,
        dropout=separate.dropout,
        bias=any(bias is not None for bias in biases),
        kdim=separate.k_proj.in_features,
        vdim=separate.v_proj.in_features,
        batch_first=separate.batch_first,
        device=first.device,
        dtype=first.dtype,
    ).train(separate.training)
    inputs: list[Tensor] = [weight for weight in weights[:3] if weight is not None]
    if attention.in_proj_weight is not None:
        attention.in_proj_weight.copy_(torch.cat(inputs))
    else:
        for key, weight in zip("qkv", inputs, strict=True):
            getattr(attention, f"{key}_proj_weight").copy_(weight)
    attention.out_proj.weight.copy_(projections[3].weight)
    if attention.in_proj_bias is not None:
        filled = [first.new_zeros(separate.embed_dim) if b is None else b for b in biases]
        attention.in_proj_bias.copy_(torch.cat(filled[:3]))
        attention.out_proj.bias.copy_(filled[3])
    return attention.requires_grad_(first.requires_grad)


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, float("-inf"))
