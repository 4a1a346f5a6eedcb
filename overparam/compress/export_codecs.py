"""Ways to store one tensor in a file; the smallest is used.

- *dense*: the values.
- *sparse*: the entries that are not zero, and for each how many zeros come before it.
- *packed*: small integers without gaps, with a scale and a zero for each group of columns.
- *packed sparse*: both.

The numbers of zeros are written with b = 1..8 bits: 2^b - 1 stands for as many zeros and no entry
yet. With b = 1 this is a bitmap, and with more bits it is a list of index deltas; the b that takes
the fewest bytes is used.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from overparam.compress.packing import pack_bits, packed_bytes
from overparam.compress.quantised_weight import per_entry

HEADER_BYTES = 60
"""About what safetensors spends on the header of one tensor, besides its name."""

SPARSE_DTYPES = {
    torch.float32: torch.int32,
    torch.float64: torch.int64,
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
    **{dtype: dtype for dtype in (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64)},
}
"""Types that can be stored sparse, and integers of the same size, in which -0 is not 0."""


@dataclass(frozen=True)
class Coded:
    """One tensor as it is stored.

    Attributes:
        codec: name for people, e.g. ``"packed int4"``.
        entry: what ``model.json`` says about it.
        stored: what the safetensors file holds, by name.
    """

    codec: str
    entry: Mapping[str, Any]
    stored: Mapping[str, Tensor]

    @property
    def payload(self) -> int:
        """Bytes of the stored tensors."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.stored.values())

    @property
    def bytes(self) -> int:
        """Bytes that it adds to the two files, headers included."""
        headers = sum(HEADER_BYTES + len(name) for name in self.stored)
        return self.payload + headers + len(json.dumps(dict(self.entry)))


@dataclass(frozen=True)
class Integers:
    """A quantised weight: see :class:`overparam.compress.QuantisedWeight`."""

    codes: Tensor
    scale: Tensor
    zero: Tensor
    bits: int
    group: int | None


def dense(name: str, tensor: Tensor) -> Coded:
    """The values as they are."""
    return Coded("dense", {"shape": list(tensor.shape)}, {name: tensor.detach().contiguous()})


def sparse(name: str, tensor: Tensor) -> Coded | None:
    """The entries whose bits are not all zero; ``None`` where the type does not allow it."""
    as_integers = SPARSE_DTYPES.get(tensor.dtype)
    if as_integers is None or not tensor.numel():
        return None
    flat = tensor.detach().contiguous().flatten()
    kept = flat.view(as_integers) != 0
    bits, steps = zero_runs(kept)
    entry = {"shape": list(tensor.shape), "steps": bits}
    return Coded("sparse", entry, {name: flat[kept], f"{name}:steps": steps})


def packed(name: str, integers: Integers) -> Coded:
    """All codes, packed."""
    codes, bits = integers.codes, integers.bits
    entry = _grid_entry(integers) | {"count": codes.numel()}
    stored = _grid(name, integers) | {name: pack_bits(codes, bits)}
    return Coded(f"packed int{bits}", entry, stored)


def packed_sparse(name: str, integers: Integers) -> Coded:
    """The codes that do not mean zero, packed."""
    codes, bits = integers.codes, integers.bits
    zero = per_entry(integers.zero, codes.shape, integers.group)
    kept = (codes != zero).flatten()
    step_bits, steps = zero_runs(kept)
    entry = _grid_entry(integers) | {"count": int(kept.sum()), "steps": step_bits}
    packed_codes = pack_bits(codes.flatten()[kept], bits)
    stored = _grid(name, integers) | {name: packed_codes, f"{name}:steps": steps}
    return Coded(f"sparse+int{bits}", entry, stored)


def smallest(name: str, tensor: Tensor, integers: Integers | None = None) -> Coded:
    """The codec that takes the fewest bytes.

    Args:
        name: of the tensor.
        tensor: its values.
        integers: what the values are computed from, if they are.
    """
    ways: list[Coded | None] = [dense(name, tensor), sparse(name, tensor)]
    if integers is not None and tensor.numel():
        ways += [packed(name, integers), packed_sparse(name, integers)]
    return min((way for way in ways if way is not None), key=lambda way: way.bytes)


def zero_runs(kept: Tensor) -> tuple[int, Tensor]:
    """Where the kept entries are: bits per number, and the packed lengths of the runs before them.

    Args:
        kept: boolean (n,).

    Example:
        >>> bits, steps = zero_runs(torch.tensor([False, False, True, True, False]))
        >>> bits, steps.tolist()  # two zeros and an entry, none and an entry; 1s are zeros
        (1, [3])
    """
    index = kept.nonzero().flatten()
    runs = torch.diff(index, prepend=index.new_full((1,), -1)) - 1
    sizes = {
        bits: packed_bytes(len(runs) + int((runs // (2**bits - 1)).sum()), bits)
        for bits in range(1, 9)
    }
    bits = min(sizes, key=lambda b: (sizes[b], b))
    full = 2**bits - 1
    # Each run is so many times ``full``, and what remains; ``ends`` is where the remainders stand.
    ends = (runs // full + 1).cumsum(0) - 1
    count = int(ends[-1]) + 1 if len(ends) else 0
    steps = torch.full((count,), full, dtype=torch.uint8)
    steps[ends] = (runs % full).to(torch.uint8)
    return bits, _pack(steps, bits)


def _pack(codes: Tensor, bits: int) -> Tensor:
    if bits > 1:
        return pack_bits(codes, bits)
    # Two codes of one bit are one of two bits: the streams are the same.
    pairs = torch.nn.functional.pad(codes, (0, len(codes) % 2)).view(-1, 2)
    return pack_bits(pairs[:, 0] + 2 * pairs[:, 1], 2)


def _grid_entry(integers: Integers) -> dict[str, Any]:
    shape = integers.codes.shape
    group = integers.group or max(1, shape[1:].numel())
    return {"shape": list(shape), "bits": integers.bits, "group": group}


def _grid(name: str, integers: Integers) -> dict[str, Tensor]:
    # (1, 1) per tensor, (O, 1) per channel, (O, G) per group.
    rows = integers.scale.shape[0] if integers.scale.ndim else 1
    scale, zero = integers.scale.reshape(rows, -1), integers.zero.reshape(rows, -1)
    if bool((zero == zero[:1]).all()):
        zero = zero[:1]
    return {f"{name}:scale": scale.contiguous(), f"{name}:zero": zero.contiguous()}
