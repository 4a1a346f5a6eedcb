"""Where the channels of a layer lie: which dimensions of which tensors one of its sides spans."""

from collections.abc import Collection
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import torch
from torch import Tensor, nn

Side = Literal["out", "in", "both"]
"""Outputs, inputs, or one width for both (norms, embeddings, depthwise convolutions)."""

Convolution = nn.modules.conv._ConvNd
BatchStatistics = nn.modules.batchnorm._NormBase
ACROSS_CHANNELS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
"""Norms whose statistics go over channels: one channel less changes all others."""


class Unfollowable(ValueError):
    """Channels can't be taken out here; the message says why."""


@dataclass(frozen=True)
class TensorAxis:
    """One dimension of one tensor that holds the channels of a side.

    Attributes:
        tensor: name below the layer.
        dim: its dimension.
        blocks: the channels follow each other this many times (query, key, value).
        folds: the dimension holds one of this many equal runs of channels (grouped convolution).
    """

    tensor: str
    dim: int
    blocks: int = 1
    folds: int = 1

    def positions(self, channels: Collection[int], size: int) -> list[int]:
        """Where ``channels`` (of ``size`` in all) lie along the dimension, sorted.

        Raises:
            Unfollowable: the runs of a grouped layer would not lose the same channels.
        """
        run = size // self.folds
        inside = {channel % run for channel in channels}
        if len(inside) * self.folds != len(set(channels)):
            raise Unfollowable("the groups of a grouped layer would lose different channels")
        return sorted(block * run + channel for block in range(self.blocks) for channel in inside)


@dataclass(frozen=True)
class LayerAxis:
    """One side of a layer.

    Attributes:
        size: number of channels.
        tensors: where they lie.
        sizes: integer attributes of the layer that count them.
        runs: the layer needs equally many channels in each of this many consecutive runs.
    """

    size: int
    tensors: tuple[TensorAxis, ...]
    sizes: tuple[str, ...]
    runs: int = 1


def layer_axis(layer: nn.Module, side: Side) -> LayerAxis:
    """The tensors that hold the channels of one side of ``layer``.

    Raises:
        Unfollowable: no rule for this layer, or its weight is no plain parameter.
    """
    axis = _rule(layer, side)
    present = []
    for entry in axis.tensors:
        owner, name = _owner(layer, entry.tensor)
        if name in owner._parameters or name in owner._buffers:
            if getattr(owner, name) is not None:
                present.append(entry)
        elif getattr(owner, name, None) is not None:
            raise Unfollowable(f"the {name} of {type(layer).__name__} is computed from others")
    if isinstance(getattr(type(layer), "weight", None), property):
        raise Unfollowable(f"the weight of {type(layer).__name__} is computed from others")
    return LayerAxis(axis.size, tuple(present), axis.sizes, axis.runs)


def _rule(layer: nn.Module, side: Side) -> LayerAxis:
    here = TensorAxis
    if isinstance(layer, nn.Linear):
        if side == "in":
            return LayerAxis(layer.in_features, (here("weight", 1),), ("in_features",))
        return LayerAxis(
            layer.out_features, (here("weight", 0), here("bias", 0)), ("out_features",)
        )
    if isinstance(layer, Convolution):
        return _convolution(layer, side)
    if isinstance(layer, BatchStatistics):
        names = ("weight", "bias", "running_mean", "running_var")
        return LayerAxis(layer.num_features, tuple(here(n, 0) for n in names), ("num_features",))
    if isinstance(layer, nn.GroupNorm):
        affine = (here("weight", 0), here("bias", 0))
        return LayerAxis(layer.num_channels, affine, ("num_channels",), layer.num_groups)
    if isinstance(layer, nn.LayerNorm | nn.RMSNorm):
        if len(layer.normalized_shape) != 1:
            raise Unfollowable(f"{type(layer).__name__} over several dimensions")
        return LayerAxis(layer.normalized_shape[0], (here("weight", 0), here("bias", 0)), ())
    if isinstance(layer, nn.PReLU):
        return LayerAxis(layer.num_parameters, (here("weight", 0),), ("num_parameters",))
    if isinstance(layer, nn.Embedding):
        return LayerAxis(layer.embedding_dim, (here("weight", 1),), ("embedding_dim",))
    if isinstance(layer, nn.MultiheadAttention):
        return _multihead(layer)
    if isinstance(layer, nn.RNNBase) and side == "in":
        reverse = ("weight_ih_l0_reverse",) if layer.bidirectional else ()
        names = ("weight_ih_l0", *reverse)
        return LayerAxis(layer.input_size, tuple(here(n, 1) for n in names), ("input_size",))
    raise Unfollowable(f"no rule for the channels of {type(layer).__name__}")


def _convolution(layer: Convolution, side: Side) -> LayerAxis:
    outer, inner = (1, 0) if layer.transposed else (0, 1)
    if side == "both":
        if not layer.groups == layer.in_channels == layer.out_channels:
            raise Unfollowable("a depthwise convolution that also widens")
        tensors = (TensorAxis("weight", 0), TensorAxis("bias", 0))
        return LayerAxis(layer.groups, tensors, ("in_channels", "out_channels", "groups"))
    # The weight has one dimension of full width and one that holds a single group.
    folded = layer.groups
    if side == "out":
        weight = TensorAxis("weight", outer, folds=folded if layer.transposed else 1)
        tensors = (weight, TensorAxis("bias", 0))
        return LayerAxis(layer.out_channels, tensors, ("out_channels",), layer.groups)
    weight = TensorAxis("weight", inner, folds=1 if layer.transposed else folded)
    return LayerAxis(layer.in_channels, (weight,), ("in_channels",), layer.groups)


def _multihead(layer: nn.MultiheadAttention) -> LayerAxis:
    if not layer._qkv_same_embed_dim:
        raise Unfollowable("MultiheadAttention with keys or values of another width")
    tensors = (
        TensorAxis("in_proj_weight", 0, blocks=3),
        TensorAxis("in_proj_weight", 1),
        TensorAxis("in_proj_bias", 0, blocks=3),
        TensorAxis("bias_k", 2),
        TensorAxis("bias_v", 2),
        TensorAxis("out_proj.weight", 0),
        TensorAxis("out_proj.weight", 1),
        TensorAxis("out_proj.bias", 0),
    )
    sizes = ("embed_dim", "kdim", "vdim", "out_proj.in_features", "out_proj.out_features")
    return LayerAxis(layer.embed_dim, tensors, sizes, layer.num_heads)


def take_out(layer: nn.Module, side: Side, channels: Collection[int]) -> None:
    r"""Remove channels of one side of ``layer`` in place.

    In ``nn.MultiheadAttention`` the heads get narrower; torch divides scores by the root of the
    head's width d, so the query's weights are multiplied by :math:`\sqrt{d' / d}`: scores are those
    of the layer with the channels at zero.

    Raises:
        Unfollowable: as :func:`layer_axis`, or unequal runs.
    """
    axis = layer_axis(layer, side)
    for entry in axis.tensors:
        owner, name = _owner(layer, entry.tensor)
        narrow(owner, name, entry.dim, entry.positions(channels, axis.size))
    for size in axis.sizes:
        owner, name = _owner(layer, size)
        setattr(owner, name, getattr(owner, name) - len(set(channels)))
    kept = axis.size - len(set(channels))
    if isinstance(layer, nn.LayerNorm | nn.RMSNorm):
        layer.normalized_shape = (kept,)
    if isinstance(layer, nn.RNNBase):
        layer.flatten_parameters()
    if isinstance(layer, nn.MultiheadAttention):
        runs = {channel // layer.head_dim for channel in channels}
        if kept % layer.num_heads or len(runs) != layer.num_heads:
            raise Unfollowable("the heads of MultiheadAttention would lose different widths")
        layer.head_dim = kept // layer.num_heads
        with torch.no_grad():
            layer.in_proj_weight[:kept] *= sqrt(kept / axis.size)
            if layer.in_proj_bias is not None:
                layer.in_proj_bias[:kept] *= sqrt(kept / axis.size)


def set_zero(layer: nn.Module, side: Side, channels: Collection[int]) -> None:
    """Set all weights and biases of channels of one side of ``layer`` to zero, in new tensors."""
    axis = layer_axis(layer, side)
    for entry in axis.tensors:
        owner, name = _owner(layer, entry.tensor)
        if name in owner._parameters:
            blank(owner, name, entry.dim, entry.positions(channels, axis.size))


def narrow(owner: nn.Module, name: str, dim: int, positions: Collection[int]) -> None:
    """Drop ``positions`` along ``dim`` of a parameter or buffer of ``owner``."""
    old = getattr(owner, name)
    gone = set(positions)
    keep = [k for k in range(old.shape[dim]) if k not in gone]
    _put(owner, name, old.detach().index_select(dim, torch.tensor(keep, device=old.device)))


def blank(owner: nn.Module, name: str, dim: int, positions: Collection[int]) -> None:
    """Set ``positions`` along ``dim`` of a parameter of ``owner`` to zero, in a new tensor."""
    old = getattr(owner, name)
    where = torch.tensor(sorted(positions), device=old.device, dtype=torch.long)
    _put(owner, name, old.detach().index_fill(dim, where, 0))


def scale_rows(layer: nn.Module, rows: Collection[int], factor: float) -> None:
    """Multiply rows of a linear layer's weight and bias, in new tensors."""
    for name in ("weight", "bias"):
        old = getattr(layer, name)
        if old is not None:
            values = old.detach().clone()
            values[list(rows)] *= factor
            _put(layer, name, values)


def _put(owner: nn.Module, name: str, values: Tensor) -> None:
    old = getattr(owner, name)
    if name in owner._parameters:
        values = nn.Parameter(values, requires_grad=old.requires_grad)
    setattr(owner, name, values)


def _owner(layer: nn.Module, dotted: str) -> tuple[nn.Module, str]:
    path, _, name = dotted.rpartition(".")
    return layer.get_submodule(path), name
