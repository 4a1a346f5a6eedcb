"""Small integers without gaps between them: eight codes of b bits in b bytes."""

import torch
from torch import Tensor


def pack_bits(codes: Tensor, bits: int) -> Tensor:
    r"""Pack integers of ``bits`` bits into bytes, lowest bits first.

    Code i takes the bits :math:`i b .. i b + b - 1` of the stream, and bit j of the stream is bit
    :math:`j \bmod 8` of byte :math:`\lfloor j / 8 \rfloor`. The last byte is filled with zeros.

    Args:
        codes: integers in 0..2^bits - 1, any shape; read in row-major order.
        bits: 2..8.

    Returns:
        uint8 tensor of ceil(numel * bits / 8) bytes.

    Raises:
        ValueError: ``bits`` out of range, or a code that needs more bits.
        TypeError: ``codes`` are not integers.

    Example:
        >>> pack_bits(torch.tensor([1, 2, 3]), 4).tolist()
        [33, 3]
    """
    check_bits(bits)
    if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
        raise TypeError(f"codes have dtype {codes.dtype}; allowed are integers")
    flat = codes.flatten()
    if flat.numel() and (int(flat.min()) < 0 or int(flat.max()) >= 2**bits):
        raise ValueError(
            f"codes lie in {int(flat.min())}..{int(flat.max())}; "
            f"allowed with {bits} bits are 0..{2**bits - 1}"
        )
    count = flat.numel()
    padded = torch.nn.functional.pad(flat, (0, -count % 8)).view(-1, 8)
    # A word holds eight codes: eight times ``bits`` are at most the 64 bits of an int64.
    words = torch.zeros(len(padded), dtype=torch.int64, device=codes.device)
    for place in range(8):
        words |= padded[:, place].long() << (place * bits)
    packed = torch.stack([(words >> (8 * byte)) & 255 for byte in range(bits)], dim=1)
    return packed.to(torch.uint8).flatten()[: packed_bytes(count, bits)].clone()


def unpack_bits(packed: Tensor, bits: int, count: int) -> Tensor:
    """The exact inverse of :func:`pack_bits`.

    Args:
        packed: uint8, (ceil(count * bits / 8),).
        bits: 2..8, as packed.
        count: number of codes.

    Returns:
        uint8 tensor (count,).

    Raises:
        ValueError: ``bits`` out of range, or not as many bytes as ``count`` codes take.
        TypeError: ``packed`` is not uint8.
    """
    check_bits(bits)
    if packed.dtype != torch.uint8:
        raise TypeError(f"packed has dtype {packed.dtype}; allowed torch.uint8")
    if count < 0 or packed.shape != (packed_bytes(count, bits),):
        raise ValueError(
            f"packed has shape {tuple(packed.shape)}; {count} codes of {bits} bits take "
            f"({packed_bytes(count, bits)},)"
        )
    padded = torch.nn.functional.pad(packed, (0, -packed.numel() % bits)).view(-1, bits)
    words = torch.zeros(len(padded), dtype=torch.int64, device=packed.device)
    for byte in range(bits):
        words |= padded[:, byte].long() << (8 * byte)
    mask = 2**bits - 1
    codes = torch.stack([(words >> (place * bits)) & mask for place in range(8)], dim=1)
    return codes.to(torch.uint8).flatten()[:count].clone()


def packed_bytes(count: int, bits: int) -> int:
    """Bytes that ``count`` codes of ``bits`` bits take."""
    return -(-count * bits // 8)


def check_bits(bits: int) -> None:
    """Refuse what is not a whole number of bits in 2..8 with ``ValueError``."""
    if isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= 8:
        raise ValueError(f"bits is {bits!r}; allowed are 2..8")
