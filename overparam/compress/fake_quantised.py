"""Models that compute with quantised weights and activations while both are still learned."""

import warnings
from collections.abc import Iterable, Sequence
from copy import deepcopy
from functools import cache

from torch import Tensor, nn

from overparam.compress.activation_quantizer import ActivationQuantizer
from overparam.compress.masked_weight import unmask_weight
from overparam.compress.packing import check_bits
from overparam.compress.quantise_model import slot_weight
from overparam.compress.quantised_weight import quantise_weight
from overparam.compress.registry import LeftAlone
from overparam.compress.single_names import single_names
from overparam.compress.weight_quantizer import WeightQuantizer
from overparam.compress.weights import compressible_weights

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class FakeQuantised:
    """Mixin of a layer that rounds its weight and, if asked, its input.

    Attributes:
        weight_quantizer: what the weight reads as; layers with tied weights share one.
        input_quantizer: rounds the input; ``None`` leaves it.
    """

    weight_quantizer: WeightQuantizer
    input_quantizer: ActivationQuantizer | None

    @property
    def weight(self) -> Tensor:
        """The weight as the quantiser has it now."""
        return self.weight_quantizer()

    def soften(self) -> None:
        """Begin to learn the rounding, unless that has begun."""
        if self.weight_quantizer.mode != "soft":
            values: dict[str, Tensor] = self._parameters  # type: ignore[attr-defined]
            self.weight_quantizer.soften(values["weight"])

    def forward(self, x: Tensor) -> Tensor:
        """The layer's own forward pass on the rounded input."""
        rounded = x if self.input_quantizer is None else self.input_quantizer(x)
        return super().forward(rounded)  # type: ignore[misc]


def quantize_model(
    model: nn.Module,
    w_bits: int,
    a_bits: int | None = None,
    first_last: int | None = 8,
    *,
    order: Sequence[str] | None = None,
    skip: Iterable[str] = (),
    drop: float = 0.5,
    power: float = 2.4,
) -> nn.Module:
    """A copy of ``model`` whose Linear, Conv and Embedding layers round weights and inputs.

    Norms and everything else stay. Weights are rounded to the nearest level of their
    :class:`WeightQuantizer`; activation quantisers still need ``calibrate``.

    The first layer gets ``first_last`` bits for the weights and its input is not rounded; the last
    one gets ``first_last`` for both.

    Args:
        model: any module; not changed.
        w_bits: of the weights, 2..8.
        a_bits: of the inputs, 2..8; ``None`` leaves all inputs as they are.
        first_last: bits of the first and last layer; ``None``: like the others (the first layer's
            input stays as it is).
        order: names of the layers as they run; the order of the modules if not given.
        skip: names of layers to leave alone.
        drop: QDrop probability of the activation quantisers.
        power: of the clip search of the weights.

    Raises:
        ValueError: bits or probability out of range, an ``order`` that names no layer, or as
            :func:`compressible_weights`.

    Warns:
        LeftAlone: with ``a_bits``, projections at the end of ``nn.MultiheadAttention``: their input
            never passes a ``forward``.
    """
    for bits in (w_bits, a_bits, first_last):
        if bits is not None:
            check_bits(bits)
    copied = deepcopy(model)
    slots = compressible_weights(single_names(copied).emptied(copied), skip=skip)
    out_projections = _out_projections(copied) if a_bits is not None else set()
    layers = [name for slot in slots for name in slot.layers]
    ordered = layers if order is None else [name for name in order if name in set(layers)]
    if not ordered:
        raise ValueError(f"order {list(order or ())} names no layer; allowed {layers}")
    ends = (ordered[0], ordered[-1])
    for slot in slots:
        alone = [name for name in slot.layers if name in out_projections]
        if alone:
            warnings.warn(
                f"{', '.join(alone)}: nn.MultiheadAttention hides the input, left as it is",
                LeftAlone,
                stacklevel=2,
            )
            continue
        outer = first_last is not None and bool({*slot.layers} & {*ends})
        bits = first_last if outer and first_last is not None else w_bits
        quantizer = WeightQuantizer(slot_weight(copied, slot), bits, power)
        for name in slot.layers:
            layer = copied.get_submodule(name)
            inner_bits = first_last if first_last is not None and name == ends[1] else a_bits
            rounds = a_bits is not None and name != ends[0] and not isinstance(layer, nn.Embedding)
            inputs = ActivationQuantizer(inner_bits, drop) if rounds and inner_bits else None
            _swap(layer, quantizer, inputs)
    if a_bits is not None:
        _leave_fast_path(copied)
    return copied


def list_blocks(model: nn.Module, types: Iterable[type[nn.Module]] = ()) -> list[str]:
    """Names of the parts that are reconstructed one after the other.

    The outermost modules of ``types`` (residual blocks, say), and each Linear or Conv layer that is
    in none of them, in the order of the modules. Layers tied to an embedding are no blocks.

    Raises:
        ValueError: two blocks share a weight: rounding it for one would undo the other.
    """
    kinds = tuple(types)
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    blocks: list[str] = []
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{block}.") or not block for block in blocks)
        layer = isinstance(module, LAYERS) and id(module.weight) not in tables
        if not inside and (layer or (kinds and isinstance(module, kinds))):
            blocks.append(name)
    owner: dict[int, str] = {}
    for block in blocks:
        for parameter in model.get_submodule(block).parameters():
            first = owner.setdefault(id(parameter), block)
            if first != block:
                raise ValueError(f"blocks {first!r} and {block!r} share a weight")
    return blocks


def integer_weights(model: nn.Module) -> nn.Module:
    """A copy of a fake-quantised model that stores its weights as integers.

    Raises:
        ValueError: a layer rounds its input, which stored integers do not, or is still softly
            rounded.
    """
    stored = deepcopy(model)
    # Tied layers hold one quantiser and so get one set of tensors.
    tensors: dict[int, tuple[Tensor, Tensor, Tensor, int]] = {}
    layers = [layer for layer in stored.modules() if isinstance(layer, FakeQuantised)]
    for layer in layers:
        quantizer = layer.weight_quantizer
        if layer.input_quantizer is not None or quantizer.mode == "soft":
            raise ValueError("only layers with finished weights and untouched inputs can be stored")
        grid = quantizer.grid
        tensors.setdefault(
            id(quantizer), (quantizer.codes, grid.scale.clone(), grid.zero, grid.bits)
        )
    shared = [tensors[id(layer.weight_quantizer)] for layer in layers]
    for layer, (codes, scale, zero, bits) in zip(layers, shared, strict=True):
        layer.__class__ = type(layer).__bases__[1]
        del layer.weight_quantizer, layer.input_quantizer
        quantise_weight(layer, codes, scale, zero, bits)
    return stored


def _swap(layer: nn.Module, quantizer: WeightQuantizer, inputs: ActivationQuantizer | None) -> None:
    unmask_weight(layer)
    layer.add_module("weight_quantizer", quantizer)
    layer.add_module("input_quantizer", inputs)
    layer.__class__ = _fake_class(type(layer))  # type: ignore[arg-type]


def _leave_fast_path(model: nn.Module) -> None:
    # In eval mode torch's own transformer layers read the weights of their linear layers and call
    # none of them: their inputs would not be rounded. These are the switches that they look at.
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False


def _out_projections(model: nn.Module) -> set[str]:
    return {
        f"{name}.out_proj" if name else "out_proj"
        for name, module in model.named_modules()
        if isinstance(module, nn.MultiheadAttention)
    }


@cache
def _fake_class(layer_class: type[nn.Module]) -> type[nn.Module]:
    return type(f"FakeQuantised{layer_class.__name__}", (FakeQuantised, layer_class), {})
