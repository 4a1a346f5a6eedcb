"""A weight stored as small integers inside the layer that uses it."""

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from overparam.compress.masked_weight import MaskedWeight, unmask_weight
from overparam.compress.packing import check_bits


class QuantisedWeight:
    """Mixin of a layer whose weights read as ``(codes - zero) * scale``.

    There is no such parameter any more: the integers are the only copy. They follow ``deepcopy``,
    ``state_dict`` and ``to``, and no hook is involved. Most layers have one weight, ``weight``; of
    a recurrent one, or of attention's joint projection, the buffers of each are called after it:
    ``in_proj_weight_codes``, ...

    Attributes:
        quantised: names of the weights that are stored as integers.
        weight_codes: uint8 in 0..2^bits - 1, of the weight's shape.
        weight_scale: of the weight's floating type. A weight seen as (O, K) has one per tensor:
            (), one per output channel: (O,), or one per ``group`` neighbouring columns:
            (O, ceil(K / group)).
        weight_zero: uint8 of the scale's shape; the code that means 0.
        bits: 2..8.
        group: columns per scale, or ``None``.
    """

    quantised: tuple[str, ...]
    bits: int
    group: int | None

    def integers(self, name: str) -> tuple[Tensor, Tensor, Tensor]:
        """Codes, scale and zero of one weight."""
        buffers: dict[str, Tensor] = self._buffers  # type: ignore[attr-defined]
        codes, scale, zero = (buffers[part] for part in _buffers(name))
        return codes, scale, zero

    def value(self, name: str) -> Tensor:
        """One weight, dequantised; it takes no gradient."""
        return dequantise_codes(*self.integers(name), self.group)


def quantise_weight(
    layer: nn.Module,
    codes: Tensor,
    scale: Tensor,
    zero: Tensor,
    bits: int,
    group: int | None = None,
    *,
    name: str = "weight",
) -> None:
    """Replace a weight of ``layer`` by integers, in place.

    The tensors are kept as they are, so tied layers can share them. A mask that the layer carries
    is folded into the codes: a masked entry gets the code of zero.

    Args:
        layer: a layer with a parameter ``name`` of shape (O, ...), plain or masked.
        codes: uint8 in 0..2^bits - 1, of the weight's shape.
        scale: positive, of the weight's dtype; (), (O,) or, with ``group``, (O, ceil(K / group)).
        zero: uint8 in 0..2^bits - 1, of the scale's shape.
        bits: 2..8.
        group: columns of the weight seen as (O, K) that share a scale.
        name: of the weight. Several of one layer have the same ``bits`` and ``group``.

    Raises:
        ValueError: a shape, dtype or value that does not fit; ``layer`` has no such weight of its
            own, or another one with other bits.
    """
    weight = layer._parameters.get(name)
    if weight is None:
        raise ValueError(f"{type(layer).__name__} has no parameter {name!r} to quantise")
    if isinstance(layer, QuantisedWeight) and (layer.bits, layer.group) != (bits, group):
        raise ValueError(
            f"{name} gets {bits} bits in groups of {group}; the layer has {layer.bits} in groups "
            f"of {layer.group}, allowed: the same"
        )
    _check(weight, codes, scale, zero, bits, group)
    if isinstance(layer, MaskedWeight):
        codes = _folded(codes, zero, group, layer.weight_mask)
        unmask_weight(layer)
    kind: type[nn.Module] = type(layer)
    names: tuple[str, ...] = (name,)
    if isinstance(layer, QuantisedWeight):
        kind, names = type(layer).__bases__[1], (*layer.quantised, name)
    del layer._parameters[name]
    for place, tensor in zip(_buffers(name), (codes, scale, zero), strict=True):
        layer.register_buffer(place, tensor)
    layer.__dict__.update(bits=bits, group=group)
    layer.__dict__.pop("_flat_weights", None)
    layer.__class__ = _quantised_class(kind, names)  # type: ignore[arg-type]


@torch.no_grad()
def dequantise(model: nn.Module) -> nn.Module:
    """A copy of ``model`` with ordinary float weights where it stores integers; same outputs.

    Layers that share their integers share one ``Parameter`` afterwards. Masks and shared
    parameters stay as they are; ``materialise`` writes those out.
    """
    plain = deepcopy(model)
    layers = [layer for layer in plain.modules() if isinstance(layer, QuantisedWeight)]
    # By identity, while the layers still hold the integers: ids are not reused.
    written: dict[int, nn.Parameter] = {}
    for layer in layers:
        for name in layer.quantised:
            codes = layer.integers(name)[0]
            written.setdefault(id(codes), nn.Parameter(layer.value(name)))
    parameters = [
        {name: written[id(layer.integers(name)[0])] for name in layer.quantised} for layer in layers
    ]
    for layer, own in zip(layers, parameters, strict=True):
        _plain_weights(layer, own)
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


def _plain_weights(layer: nn.Module, parameters: Mapping[str, nn.Parameter]) -> None:
    for name in parameters:
        for place in _buffers(name):
            delattr(layer, place)
    del layer.__dict__["bits"], layer.__dict__["group"]
    layer.__class__ = type(layer).__bases__[1]
    for name, parameter in parameters.items():
        layer.register_parameter(name, parameter)
    if isinstance(layer, nn.RNNBase):
        layer._init_flat_weights()


def _buffers(name: str) -> tuple[str, str, str]:
    return f"{name}_codes", f"{name}_scale", f"{name}_zero"


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
def _quantised_class(layer_class: type[nn.Module], names: tuple[str, ...]) -> type[nn.Module]:
    members: dict[str, Any] = {name: _reading(name) for name in names}
    if issubclass(layer_class, nn.RNNBase):
        members["_flat_weights"] = property(_flat_weights, _keep_none)
    kind = f"Quantised{layer_class.__name__}"
    return type(kind, (QuantisedWeight, layer_class), {"quantised": names, **members})


def _reading(name: str) -> property:
    def read(layer: QuantisedWeight) -> Tensor:
        return layer.value(name)

    return property(read, doc="The dequantised weight; it takes no gradient.")


def _flat_weights(layer: nn.RNNBase) -> list[Tensor]:
    # A recurrent layer computes with a list of its weights that it has beside the attributes.
    return [getattr(layer, name) for name in layer._flat_weights_names]


def _keep_none(layer: nn.RNNBase, weights: list[Tensor]) -> None:
    """The layer makes its list anew when its tensors move; there is nothing to keep."""
