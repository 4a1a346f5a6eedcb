r"""Hash functions that lay n virtual weights on m real ones.

Randomized parameter sharing (Desai & Shrivastava, *In defense of parameter sharing for
model-compression*, ICLR 2024) reads virtual weight i from bucket h(i). Three maps h:

- ``hashed`` (HashedNet): every index is hashed on its own;
- ``roast`` (ROAST): tiles of a matrix are hashed as a whole and laid contiguously;
- ``randomfold`` (STABLE-RPS): consecutive pieces of length m are laid on the real weights with a
  random cyclic shift each, so that every bucket is used floor(n/m) or ceil(n/m) times.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod

import torch
from torch import Tensor

PRIME = 2038074743
# Odd, 2^64 over the golden ratio as a signed number: spreads the 31-bit coefficients over 64 bits.
MIXER = 0x9E3779B97F4A7C15 - 2**64
MAPPINGS = ("hashed", "roast", "randomfold")
DEFAULT_TILE = (32, 32)


def hash_coefficients(seed: int) -> Tensor:
    """Odd random coefficients (2, 3), int64: row 0 hashes locations, row 1 signs.

    Raises:
        TypeError, ValueError: ``seed`` is not an integer >= 0.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed must be an integer, got {seed!r}")
    if seed < 0:
        raise ValueError(f"seed is {seed}; allowed are integers >= 0")
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randint(1, PRIME // 2 - 1, (2, 3), generator=generator) + 1


def universal_hash(a: Tensor, coefficients: Tensor, m: int) -> Tensor:
    r"""Hash :math:`u(a) = ((a r_0 + a^2 r_1 + r_2) \bmod P) \bmod m` with P = 2038074743.

    Every factor is reduced modulo P first: no product exceeds 2^62, where squaring a large index
    before the reduction would overflow.

    Args:
        a: int64 numbers >= 0, any shape.
        coefficients: (r_0, r_1, r_2), int64.
        m: range of the result, at most P.
    """
    a = a % PRIME
    square = a * a % PRIME
    linear = a * coefficients[0] % PRIME
    return (linear + square * coefficients[1] % PRIME + coefficients[2]) % PRIME % m


def mixed_bit(a: Tensor, coefficients: Tensor) -> Tensor:
    """A pseudo-random bit (0 or 1, int64) of each int64 number, cheap enough to recompute.

    Multiply and xor-shift in 64-bit wrap-around arithmetic, the finaliser of the hash functions of
    the Murmur family with keys from the coefficients; no integer division.
    """
    a = (a + coefficients[0]) * (coefficients[1] * MIXER)
    a = (a ^ (a >> 29)) * (coefficients[2] * MIXER)
    return ((a ^ (a >> 32)) >> 17) & 1


@dataclass(frozen=True)
class VirtualLayout:
    """Where each entry of a list of tensors lies in a memory of m numbers.

    The tensors are laid one after the other in a virtual vector of length n. Indices follow from
    (layout, hash coefficients) by vectorised arithmetic, so they need not be stored.

    Attributes:
        mapping: ``"hashed"``, ``"roast"`` or ``"randomfold"``.
        m: size of the real memory.
        shapes: shapes of the tensors; tensors of several dimensions are matrices (first, rest).
        tiles: (rows, columns) of the tiles of each tensor, used by ``roast``.
    """

    mapping: str
    m: int
    shapes: tuple[tuple[int, ...], ...]
    tiles: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if self.mapping not in MAPPINGS:
            raise ValueError(f"mapping is {self.mapping!r}; allowed {MAPPINGS}")
        if not 1 <= self.m < PRIME:
            raise ValueError(f"m is {self.m}; allowed 1 <= m < {PRIME}")
        for tile in self.tiles if self.mapping == "roast" else ():
            if prod(tile) > self.m:
                raise ValueError(
                    f"tile {tile} has {prod(tile)} entries, more than m = {self.m}; "
                    "choose smaller tiles or less compression"
                )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Entries of each tensor."""
        return tuple(prod(shape) for shape in self.shapes)

    @property
    def n(self) -> int:
        """Number of virtual weights."""
        return sum(self.sizes)

    def index(self, tensor: int, coefficients: Tensor) -> Tensor:
        """Buckets (int64, flat) of all entries of one tensor."""
        if self.mapping == "roast":
            return self._tile_index(tensor, coefficients[0])
        position = self._positions(tensor, coefficients)
        if self.mapping == "hashed":
            return universal_hash(position, coefficients[0], self.m)
        return self._fold_index(position, sum(self.sizes[:tensor]), coefficients[0])

    def signs(self, tensor: int, coefficients: Tensor) -> Tensor:
        """Fixed random signs -1 or +1 (int64, flat) of all entries of one tensor."""
        return 1 - 2 * mixed_bit(self._positions(tensor, coefficients), coefficients[1])

    def _positions(self, tensor: int, coefficients: Tensor) -> Tensor:
        start = sum(self.sizes[:tensor])
        return torch.arange(start, start + self.sizes[tensor], device=coefficients.device)

    def _fold_index(self, position: Tensor, start: int, coefficients: Tensor) -> Tensor:
        # One hash per piece, not per entry: integer remainders are the cost of recomputed indices.
        first, last = start // self.m, (start + len(position) - 1) // self.m
        pieces = torch.arange(first, last + 1, device=position.device)
        shift = universal_hash(pieces, coefficients, self.m)
        piece = torch.div(position, self.m, rounding_mode="floor")
        index = shift.index_select(0, piece - first) + (position - piece * self.m)
        return torch.where(index >= self.m, index - self.m, index)

    def _tile_index(self, tensor: int, coefficients: Tensor) -> Tensor:
        grids = [
            (-(-rows // tile[0]), -(-columns // tile[1]))
            for (rows, columns), tile in zip(map(_matrix, self.shapes), self.tiles, strict=True)
        ]
        first_tile = list(accumulate(map(prod, grids), initial=0))[tensor]
        (rows, columns), (height, width) = _matrix(self.shapes[tensor]), self.tiles[tensor]
        device = coefficients.device
        number = first_tile + torch.arange(prod(grids[tensor]), device=device)
        # m - tile + 1 starts let a tile end at the last bucket; one fewer would leave it unused.
        start = universal_hash(number, coefficients, self.m - height * width + 1)
        row = torch.arange(rows, device=device)[:, None]
        column = torch.arange(columns, device=device)[None, :]
        tile = row // height * grids[tensor][1] + column // width
        offset = row % height * width + column % width
        return start.index_select(0, tile.flatten()) + offset.flatten()


def virtual_layout(
    mapping: str,
    m: int,
    shapes: Sequence[Sequence[int]],
    *,
    tile: int | tuple[int, int] | None = None,
    tables: Sequence[bool] | None = None,
) -> VirtualLayout:
    """Layout of tensors on m numbers.

    Args:
        mapping: ``"hashed"``, ``"roast"`` or ``"randomfold"``.
        m: size of the real memory.
        shapes: shapes of the tensors in order.
        tile: (rows, columns) of ROAST's tiles, (32, 32) by default. The rows of an embedding table,
            and vectors, are cut into chunks of ``columns`` instead; an integer B asks for chunks
            everywhere.
        tables: which tensors are embedding tables (none by default).

    Raises:
        ValueError: unknown mapping, m < 1, a tile that is not positive or larger than m, or
            ``tile`` given for another mapping than ``roast``.
    """
    if tile is not None and mapping != "roast":
        raise ValueError(
            f"tile is {tile!r}, but mapping {mapping!r} has no tiles; allowed for 'roast'"
        )
    height, width = DEFAULT_TILE if tile is None else (1, tile) if isinstance(tile, int) else tile
    if min(height, width) < 1:
        raise ValueError(f"tile is {tile!r}; allowed are positive sizes")
    exact = tuple(tuple(shape) for shape in shapes)
    tables = [False] * len(exact) if tables is None else tables
    tiles = tuple(
        (1, width) if table or len(shape) < 2 else (height, width)
        for shape, table in zip(exact, tables, strict=True)
    )
    return VirtualLayout(mapping, m, exact, tiles)


def rps_mapping(
    kind: str,
    n: int,
    m: int,
    seed: int,
    tile: int | tuple[int, int] | None = None,
    shapes: Sequence[Sequence[int]] | None = None,
) -> Tensor:
    """Bucket of each of n virtual weights in a memory of m numbers.

    ``randomfold`` loads every bucket floor(n/m) or ceil(n/m) times, never lets two entries of one
    piece of length m collide, and is injective for m >= n. ``hashed`` and ``roast`` collide at
    random: already at m = n about a third of the buckets stay empty.

    Args:
        kind: ``"hashed"``, ``"roast"`` or ``"randomfold"``.
        n: number of virtual weights.
        m: number of real weights.
        seed: seed of the hash.
        tile: for ``roast``, see :func:`virtual_layout`.
        shapes: shapes of the tensors in the virtual vector; one vector of length n by default.

    Returns:
        int64 tensor (n,) with values in 0..m-1.

    Raises:
        ValueError: n < 1, m < 1, unknown kind, tile larger than m, shapes that do not add up to n.

    Example:
        >>> rps_mapping("randomfold", 8, 4, seed=0).bincount(minlength=4).tolist()
        [2, 2, 2, 2]
    """
    if n < 1:
        raise ValueError(f"n is {n}; allowed are n >= 1")
    layout = virtual_layout(kind, m, [(n,)] if shapes is None else shapes, tile=tile)
    if layout.n != n:
        raise ValueError(f"shapes {layout.shapes} have {layout.n} entries, n is {n}")
    coefficients = hash_coefficients(seed)
    return torch.cat([layout.index(t, coefficients) for t in range(len(layout.shapes))])


def _matrix(shape: Sequence[int]) -> tuple[int, int]:
    return (shape[0], prod(shape[1:])) if len(shape) > 1 else (1, prod(shape))
