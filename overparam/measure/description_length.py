"""Upper bound on the description length of labels, given inputs, by a model of d numbers."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class DescriptionLength:
    """Parts of a two-part code, in bits.

    Attributes:
        seed_bits: For the seeds of theta0 and P.
        parameter_bits: For the d coordinates.
        residual_bits: For the labels under the model's predictive distribution.
        compression_ratio: ``32 D / (d b + seed_bits)``, None where D was not given.
    """

    seed_bits: float
    parameter_bits: float
    residual_bits: float
    compression_ratio: float | None

    @property
    def bits(self) -> float:
        """The whole code length in bits."""
        return self.seed_bits + self.parameter_bits + self.residual_bits

    @property
    def nats(self) -> float:
        """The whole code length in nats."""
        return self.bits * math.log(2.0)


def mdl_upper_bound(
    dim: int,
    *,
    mean_loss: float,
    examples: int,
    bits: float = 32,
    seed_bits: float = 64,
    full_dim: int | None = None,
) -> DescriptionLength:
    """Two-part code: seed, d quantised coordinates, then the labels that the model leaves to say.

    ``L <= seed_bits + d b + n * mean_loss / ln 2`` (Rissanen 1978; Hinton and van Camp 1993; Li et
    al. 2018). An upper bound on the minimum description length of the labels.

    Args:
        dim: d.
        mean_loss: Mean negative log-likelihood of the n labels, in nats, of the model whose
            coordinates have ``bits`` bits.
        examples: n.
        bits: b, per coordinate.
        seed_bits: Cost of the seeds.
        full_dim: D, for the compression ratio against 32-bit weights.

    Raises:
        ValueError: A count or number of bits below its least value; a loss that is negative or not
            finite; ``full_dim`` below ``dim``.

    Example:
        >>> code = mdl_upper_bound(
        ...     100, mean_loss=math.log(2), examples=1200, bits=8, full_dim=55210)
        >>> code.bits, round(code.compression_ratio)
        (2064.0, 2045)
    """
    if dim < 1:
        raise ValueError(f"dim must be at least 1, got {dim}")
    if examples < 0:
        raise ValueError(f"examples must be at least 0, got {examples}")
    if bits <= 0 or seed_bits < 0:
        raise ValueError(
            f"bits must be positive and seed_bits at least 0, got {bits} and {seed_bits}"
        )
    if not 0.0 <= mean_loss < math.inf:
        raise ValueError(f"mean_loss must be finite and at least 0, got {mean_loss}")
    if full_dim is not None and full_dim < dim:
        raise ValueError(f"full_dim must be at least dim = {dim}, got {full_dim}")
    parameter_bits = dim * bits
    return DescriptionLength(
        seed_bits=float(seed_bits),
        parameter_bits=float(parameter_bits),
        residual_bits=examples * mean_loss / math.log(2.0),
        compression_ratio=None
        if full_dim is None
        else 32.0 * full_dim / (parameter_bits + seed_bits),
    )
