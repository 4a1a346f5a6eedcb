"""A weight stored as small integers inside the layer that uses it."""

from copy import deepcopy
from functools import cache

import torch
from torch import Tensor, nn

from overparam.compress.masked_weight import MaskedWeight, unmask_weight
from overparam.compress.packing import check_bits


class QuantisedWeight:
    """Mixin of a layer whose weight reads as ``(codes - zero) * scale``.

    There is no parameter ``weight`` any more: the integers are the only copy. They follow
    ``deepcopy``, ``state_dict`` and ``to``, and no hook is involved.

    Attributes:
        weight_codes: uint8 in 0..2^bits - 1, of the weight's shape.
        weight_scale: of the weight's floating type. A weight seen as (O, K) has one per tensor:
            (), one per output channel: (O,), or one per ``group`` neighbouring columns:
            (O, ceil(K / group)).
        weight_zero: uint8 of the scale's shape; the code that means 0.
        bits: 2..8.
        group: columns per scale, or ``None``.
    """

    weight_codes: Tensor
    weight_scale: Tensor
    weight_zero: Tensor
    bits: int
    group: int | None

    @property
    def weight(self) -> Tensor:
        """The dequantised weight; it takes no gradient."""
        return dequantise_codes(self.weight_codes, self.weight_scale, self.weight_zero, self.group)


def quantise_weight(
    layer: nn.Module,
    codes: Tensor,
    scale: Tensor,
    zero: Tensor,
    bits: int,
    group: int | None = None,
) -> None:
    """Replace the weight of ``layer`` by integers, in place.

    The tensors are kept as they are, so tied layers can share them. A mask that the layer carries
    is folded into the codes: a masked entry gets the code of zero.

    Args:
        layer: a layer with a parameter ``weight`` of shape (O, ...), plain or masked.
        codes: uint8 in 0..2^bits - 1, of the weight's shape.
        scale: positive, of the weight's dtype; (), (O,) or, with ``group``, (O, ceil(K / group)).
        zero: uint8 in 0..2^bits - 1, of the scale's shape.
        bits: 2..8.
        group: columns of the weight seen as (O, K) that share a scale.

    Raises:
        ValueError: a shape, dtype or value that does not fit; ``layer`` has no weight of its own.
    """
    weight = layer._parameters.get("weight")
    if weight is None:
        raise ValueError(f"{type(layer).__name__} has no parameter 'weight' to quantise")
    _check(weight, codes, scale, zero, bits, group)
    if isinstance(layer, MaskedWeight):
        codes = _folded(codes, zero, group, layer.weight_mask)
        unmask_weight(layer)
    del layer._parameters["weight"]
    layer.register_buffer("weight_codes", codes)
    layer.register_buffer("weight_scale", scale)
    layer.register_buffer("weight_zero", zero)
    layer.__dict__.update(bits=bits, group=group)
    layer.__class__ = _quantised_class(type(layer))  # type: ignore[arg-type]


@torch.no_grad()
def dequantise(model: nn.Module) -> nn.Module:
    """A copy of ``model`` with ordinary float weights where it stores integers; same outputs.

    Layers that share their integers share one ``Parameter`` afterwards. Masks and shared
    parameters stay as they are; ``materialise`` writes those out.
    """
    plain = deepcopy(model)
    quantised = [layer for layer in plain.modules() if isinstance(layer, QuantisedWeight)]
    # By identity, while ``quantised`` still holds the integers: ids are not reused.
    written = {id(layer.weight_codes): nn.Parameter(layer.weight) for layer in quantised}
    parameters = [written[id(layer.weight_codes)] for layer in quantised]
    for layer, parameter in zip(quantised, parameters, strict=True):
        _plain_weight(layer, parameter)
    return plain


def dequantise_codes(codes: Tensor, scale: Tensor, zero: Tensor, group: int | None) -> Tensor:
    """``(codes - zero) * scale`` in the scale's dtype, one rounding per entry.

    Differences of codes are at most 255 and exact in every floating type torch trains in.

    Args:
        codes: (O, ...) integers.
        scale: (), (O,) or (O, groups).
        zero: integers of the scale's shape.
        group: columns per scale, or ``None``.

    Example:
        >>> codes = torch.tensor([[0, 1, 3]], dtype=torch.uint8)
        >>> dequantise_codes(codes, torch.tensor([0.5]), torch.tensor([1]), None)
        tensor([[-0.5000,  0.0000,  1.0000]])
    """
    difference = codes.to(scale.dtype) - per_entry(zero, codes.shape, group).to(scale.dtype)
    return difference * per_entry(scale, codes.shape, group)


def per_entry(values: Tensor, shape: torch.Size, group: int | None) -> Tensor:
    """Numbers per tensor (), channel (O,) or group (O, G), broadcastable to a weight (O, ...)."""
    if values.ndim == 0:
        return values
    if group is None:
        return values.view(-1, *(1 for _ in shape[1:]))
    columns = shape[1:].numel()
    return values.repeat_interleave(group, dim=1)[:, :columns].reshape(shape)


def _plain_weight(layer: nn.Module, parameter: nn.Parameter) -> None:
    for name in ("weight_codes", "weight_scale", "weight_zero", "bits", "group"):
        delattr(layer, name)
    layer.__class__ = type(layer).__bases__[1]
    layer.register_parameter("weight", parameter)


def _check(
    weight: Tensor, codes: Tensor, scale: Tensor, zero: Tensor, bits: int, group: int | None
) -> None:
    check_bits(bits)
    if group is not None and group < 1:
        raise ValueError(f"group is {group}; allowed >= 1")
    if codes.shape != weight.shape:
        raise ValueError(f"codes have shape {tuple(codes.shape)}; expected {tuple(weight.shape)}")
    rows, columns = weight.shape[0], weight.shape[1:].numel()
    grouped = (rows, -(-columns // group)) if group is not None else None
    allowed = [(), (rows,)] if grouped is None else [grouped]
    if tuple(scale.shape) not in allowed or zero.shape != scale.shape:
        raise ValueError(
            f"scale has shape {tuple(scale.shape)} and zero {tuple(zero.shape)}; "
            f"allowed, both: {' or '.join(map(str, allowed))}"
        )
    for name, values in (("codes", codes), ("zero", zero)):
        if values.dtype != torch.uint8:
            raise ValueError(f"{name} has dtype {values.dtype}; allowed torch.uint8")
        if values.numel() and int(values.max()) >= 2**bits:
            raise ValueError(
                f"{name} reaches {int(values.max())}; allowed with {bits} bits: 0..{2**bits - 1}"
            )
    if scale.dtype != weight.dtype:
        raise ValueError(f"scale has dtype {scale.dtype}; expected the weight's, {weight.dtype}")
    if not bool((scale.isfinite() & (scale > 0)).all()):
        raise ValueError("scale has entries that are not positive and finite")


def _folded(codes: Tensor, zero: Tensor, group: int | None, mask: Tensor) -> Tensor:
    zeros = per_entry(zero, codes.shape, group)
    # Left as it is where nothing changes, so that tied layers go on sharing one tensor.
    wrong = ~mask & (codes != zeros)
    return torch.where(mask, codes, zeros) if bool(wrong.any()) else codes


@cache
def _quantised_class(layer_class: type[nn.Module]) -> type[nn.Module]:
    return type(f"Quantised{layer_class.__name__}", (QuantisedWeight, layer_class), {})
