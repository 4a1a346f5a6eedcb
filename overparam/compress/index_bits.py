"""What a sparse network pays for saying where its weights are."""

from math import ceil, lgamma, log, log2

CODES = ("optimal", "bitmap", "coordinate")


def index_bits(n: int, k: int, code: str = "optimal") -> float:
    r"""Bits for the positions of k kept weights among n.

    ``"optimal"``: :math:`\log_2 \binom{n}{k}`, which no code beats on average over all masks;
    ``"bitmap"``: n; ``"coordinate"``: :math:`k \lceil \log_2 n \rceil`. Randomized sharing pays
    none, its positions follow from a seed.

    Raises:
        ValueError: k outside 0..n, or an unknown code.

    Example:
        >>> round(index_bits(4, 2), 6)
        2.584963
    """
    if not 0 <= k <= n:
        raise ValueError(f"k is {k}; allowed 0..n with n = {n}")
    if code not in CODES:
        raise ValueError(f"code is {code!r}; allowed {CODES}")
    if k in (0, n):
        return float(n) if code == "bitmap" else 0.0 if code == "optimal" else k * _address(n)
    if code == "bitmap":
        return float(n)
    if code == "coordinate":
        return k * _address(n)
    return max(0.0, (lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)) / log(2))


def index_bits_per_weight(n: int, k: int, code: str = "optimal") -> float:
    r"""Overhead per kept weight, :math:`\log_2 \binom{n}{k} / k` bits for the optimal code.

    Raises:
        ValueError: k outside 1..n, or an unknown code.
    """
    if k < 1:
        raise ValueError(f"k is {k}; allowed 1..{n}")
    return index_bits(n, k, code) / k


def sparse_bits(n: int, k: int, value_bits: int = 32, code: str = "optimal") -> float:
    """Bits of a sparse network, values and positions: the honest abscissa beside m * value_bits."""
    return k * value_bits + index_bits(n, k, code)


def _address(n: int) -> float:
    return float(ceil(log2(n))) if n > 1 else 0.0
