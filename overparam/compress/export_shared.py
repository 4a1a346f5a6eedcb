"""Shared parameters as they are stored: the bank, and what the loader computes the weights from."""

from itertools import accumulate
from math import prod
from typing import Any

from overparam.compress.export_codecs import Coded
from overparam.compress.hashing import MIXER, PRIME
from overparam.compress.shared_model import SharedModel


def shared_weights(model: SharedModel, path: str) -> dict[str, Coded]:
    r"""One entry per shared tensor, by name in the plain model; the first one brings the bank.

    The loader computes :math:`w_i = \lambda g_i z_{h(i)}` with one formula for the three maps h: a
    tensor is cut into tiles, the hash of a tile's number says where it starts in the bank, and an
    entry's place in its tile is added, modulo m. HashedNet has tiles of one entry, STABLE-RPS
    pieces of m entries of the whole virtual vector.

    Args:
        model: the shared model.
        path: where it stands in the exported model, ``""`` for the root.

    Returns:
        Empty where the virtual vector is too long for the loader's arithmetic.
    """
    layout = model.layout
    if layout.n >= PRIME:
        return {}
    prefix = f"{path}." if path else ""
    bank = f"{prefix}{model.slots[0].name}"
    coded = {}
    for number, slot in enumerate(model.slots):
        entry = {"shape": list(slot.shape), "bank": bank, **_map(model, number)}
        entry["scale"] = float(model.layer_scale[number])
        row = slot.padding_row
        width = prod(slot.shape[1:])
        entry["padding"] = [0, 0] if row is None else [row * width, (row + 1) * width]
        stored = {bank: model.shared.detach()} if number == 0 else {}
        coded[f"{prefix}{slot.name}"] = Coded("shared", entry, stored)
    return coded


def _map(model: SharedModel, number: int) -> dict[str, Any]:
    layout, coefficients = model.layout, model.hash_coefficients
    start = sum(layout.sizes[:number])
    shape = layout.shapes[number]
    if layout.mapping == "randomfold":
        columns, shift, tile, first, starts = prod(shape), start, (1, layout.m), 0, layout.m
    elif layout.mapping == "hashed":
        columns, shift, tile, first, starts = prod(shape), start, (1, 1), 0, layout.m
    else:
        tile = layout.tiles[number]
        grids = [
            prod(-(-side // size) for side, size in zip(_sides(shape), tile, strict=True))
            for shape, tile in zip(layout.shapes, layout.tiles, strict=True)
        ]
        first = list(accumulate(grids, initial=0))[number]
        columns, shift, starts = _sides(shape)[1], 0, layout.m - prod(tile) + 1
    across = -(-columns // tile[1])
    offset, *keys = (int(value) for value in coefficients[1])
    # Keys of zero make every bit 0 and every sign +1.
    mixed = [_wrapped(key * MIXER) if model.sign else 0 for key in keys]
    return {
        "columns": columns,
        "shift": shift,
        "tile": list(tile),
        "first": first,
        "across": across,
        "starts": starts,
        "hash": [int(value) for value in coefficients[0]],
        "sign": [start + offset, *mixed],
    }


def _sides(shape: tuple[int, ...]) -> tuple[int, int]:
    return (shape[0], prod(shape[1:])) if len(shape) > 1 else (1, prod(shape))


def _wrapped(number: int) -> int:
    """The number as 64-bit arithmetic has it."""
    return (number + 2**63) % 2**64 - 2**63
