"""A network whose weights are views on one short trainable vector."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from overparam.compress.grad_scale import rps_grad_scale
from overparam.compress.hashing import VirtualLayout
from overparam.compress.weights import WeightSlot


class SharedModel(nn.Module):
    """A network whose compressible weights are views on one trainable vector ``shared``.

    A plain module without hooks: it can be copied, saved, moved, and stacked in an ensemble. The
    state dict holds ``shared``, the scale of each layer and six hash coefficients, beside what is
    not shared (biases, norms); indices and signs follow from these. Built by
    :func:`share_parameters`.

    Attributes:
        shared: the m trainable numbers z.
        layer_scale: lambda of each shared tensor.
        hash_coefficients: what indices and signs follow from, (2, 3).
        grad_scale: divisor of the gradient of each entry of ``shared``, (m,); a buffer, no
            parameter.
        slots: the shared tensors, in their order in the virtual vector.
        layout: where they lie.
    """

    layer_scale: Tensor
    hash_coefficients: Tensor
    grad_scale: Tensor
    index: Tensor | None
    scale: Tensor | None

    def __init__(
        self,
        skeleton: nn.Module,
        slots: Sequence[WeightSlot],
        layout: VirtualLayout,
        *,
        shared: Tensor,
        layer_scale: Tensor,
        hash_coefficients: Tensor,
        sign: bool,
        grad_scale: str,
        guard: str,
        cache_index: bool,
    ) -> None:
        super().__init__()
        self.skeleton = skeleton
        self.slots = tuple(slots)
        self.layout = layout
        self.sign = sign
        self.grad_scale_mode = grad_scale
        self.guard = guard
        self.cache_index = cache_index
        self.shared = nn.Parameter(shared)
        self.register_buffer("layer_scale", layer_scale)
        self.register_buffer("hash_coefficients", hash_coefficients)
        for derived in ("grad_scale", "index", "scale"):
            self.register_buffer(derived, None, persistent=False)
        self._derive()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The network's own forward pass with the virtual weights in place."""
        return functional_call(self.skeleton, self.virtual_weights(), args, kwargs)

    def virtual_weights(self) -> dict[str, Tensor]:
        r"""The weights :math:`w_i = \lambda g_i z_{h(i)}` by name, tied ones under each name."""
        if self.cache_index:
            assert self.index is not None and self.scale is not None
            # index_select wants int64 under vmap; the stored int32 index is half as large.
            flat = torch.index_select(self.shared, 0, self.index.long()) * self.scale
            parts = torch.split(flat, list(self.layout.sizes))
        else:
            parts = tuple(
                _HashedView.apply(  # type: ignore[no-untyped-call]
                    self.shared,
                    self.layer_scale,
                    self.hash_coefficients,
                    self.layout,
                    t,
                    slot,
                    self.sign,
                )
                for t, slot in enumerate(self.slots)
            )
        return {
            alias: part.view(slot.shape)
            for slot, part in zip(self.slots, parts, strict=True)
            for alias in slot.aliases
        }

    def bucket_index(self, tensor: int) -> Tensor:
        """Buckets (int64, flat) of the shared tensor with this number."""
        return self.layout.index(tensor, self.hash_coefficients)

    def signed_scale(self, tensor: int) -> Tensor:
        """Factors lambda g_i (flat) of the shared tensor with this number; 0 in a padding row."""
        return _signed_scale(
            self.layer_scale,
            self.hash_coefficients,
            self.layout,
            tensor,
            self.slots[tensor],
            self.sign,
        )

    @torch.no_grad()
    def _derive(self) -> None:
        tensors = range(len(self.slots))
        index = torch.cat([self.bucket_index(t).int() for t in tensors])
        scale = torch.cat([self.signed_scale(t) for t in tensors])
        gamma = rps_grad_scale(index, scale.abs(), self.layout.m, self.grad_scale_mode, self.guard)
        self.grad_scale = gamma.to(self.shared.dtype)
        if self.cache_index:
            self.index, self.scale = index, scale

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._derive()

    def extra_repr(self) -> str:
        """Sizes and settings, without the seed: members of an ensemble have the same."""
        return (
            f"{self.layout.n} virtual weights on m={self.layout.m}, mapping={self.layout.mapping}, "
            f"sign={self.sign}, grad_scale={self.grad_scale_mode}, guard={self.guard}, "
            f"cache_index={self.cache_index}"
        )


class _HashedView(torch.autograd.Function):
    """Virtual weights of one tensor with indices recomputed in both passes, never kept."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        shared: Tensor,
        layer_scale: Tensor,
        coefficients: Tensor,
        layout: VirtualLayout,
        tensor: int,
        slot: WeightSlot,
        sign: bool,
    ) -> Tensor:
        scale = _signed_scale(layer_scale, coefficients, layout, tensor, slot, sign)
        return torch.index_select(shared, 0, layout.index(tensor, coefficients)) * scale

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, layer_scale, coefficients, *ctx.static = inputs
        ctx.save_for_backward(layer_scale, coefficients)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        layer_scale, coefficients = ctx.saved_tensors
        layout, tensor, slot, sign = ctx.static
        scaled = gradient * _signed_scale(layer_scale, coefficients, layout, tensor, slot, sign)
        into = gradient.new_zeros(layout.m)
        summed = into.index_add(0, layout.index(tensor, coefficients), scaled)
        return summed, None, None, None, None, None, None


def _signed_scale(
    layer_scale: Tensor,
    coefficients: Tensor,
    layout: VirtualLayout,
    tensor: int,
    slot: WeightSlot,
    sign: bool,
) -> Tensor:
    scale = layer_scale[tensor].expand(slot.size)
    if sign:
        scale = scale * layout.signs(tensor, coefficients)
    if slot.padding_row is None:
        return scale
    row = torch.arange(slot.size, device=scale.device) // slot.shape[1]
    return torch.where(row == slot.padding_row, 0.0, scale)
