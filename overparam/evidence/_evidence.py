"""One effect with its interval and the region that the paper's claim puts it in."""

import math
from dataclasses import dataclass
from typing import Any, Literal

Region = tuple[float | None, float | None]
Scale = Literal["linear", "log"]


@dataclass(frozen=True)
class Evidence:
    """An effect, its confidence interval, and the region it has to lie in for the claim to hold.

    Attributes:
        effect: point estimate, in the units of ``region``; NaN when the data do not define one.
        low, high: ends of the interval, ``low <= effect <= high``; equal for an exact finding.
        n: independent repetitions behind the interval (seeds, pairs, trials; for two samples the
            smaller one); ``None`` for a deterministic finding.
        region: closed interval ``(lo, hi)``; ``None`` leaves a side open, never both.
        label: what was measured, in a few words.
        scale: where the interval was computed and where effects are compared; "log" for ratios.
        method: how the interval was obtained ("paired t", "Clopper-Pearson", "BCa", "exact", ...).
        note: what a reader must know about the data (values that are not finite, say).
        missing: nothing was measured: there is no value, or each is NaN. A control of this kind has
            not failed.

    Raises:
        ValueError: a region that is open on both sides, reversed or not finite; an interval that
            does not hold its effect; ``n < 1``; on the log scale a bound that is not positive.

    >>> Evidence(0.4, 0.3, 0.5, n=5, region=(0.2, None)).inside
    True
    """

    effect: float
    low: float
    high: float
    n: int | None
    region: Region
    label: str = ""
    scale: Scale = "linear"
    method: str = ""
    note: str = ""
    missing: bool = False

    def __post_init__(self) -> None:
        if self.scale not in ("linear", "log"):
            raise ValueError(f"scale must be 'linear' or 'log', got {self.scale!r}")
        if self.n is not None and self.n < 1:
            raise ValueError(f"n must be at least 1, or None for an exact finding, got {self.n!r}")
        object.__setattr__(self, "region", checked_region(self.region, self.scale))
        for name in ("effect", "low", "high"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if math.isnan(self.low) or math.isnan(self.high) or self.low > self.high:
            raise ValueError(f"low must be at most high, got low={self.low!r}, high={self.high!r}")
        if math.isinf(self.effect):
            raise ValueError(f"effect must be finite or NaN, got {self.effect!r}")
        if not (math.isnan(self.effect) or self.low <= self.effect <= self.high):
            raise ValueError(
                f"effect must lie in its interval, got {self.effect!r} "
                f"outside [{self.low!r}, {self.high!r}]"
            )
        if self.scale == "log" and (self.effect <= 0 or self.low < 0):
            raise ValueError(
                f"on the log scale effect and interval must be positive, got {self.effect!r} "
                f"[{self.low!r}, {self.high!r}]"
            )

    @property
    def defined(self) -> bool:
        """Whether the data define an effect at all."""
        return not math.isnan(self.effect)

    @property
    def inside(self) -> bool:
        """Whether the whole interval lies in the region, whose ends belong to it."""
        lo, hi = self.region
        return self.defined and (lo is None or self.low >= lo) and (hi is None or self.high <= hi)

    @property
    def outside(self) -> bool:
        """Whether no point of the interval lies in the region."""
        lo, hi = self.region
        below = lo is not None and self.high < lo
        above = hi is not None and self.low > hi
        return self.defined and (below or above)

    def to_dict(self) -> dict[str, Any]:
        """Fields as JSON values; what JSON has no number for (NaN, an infinite end) is ``None``."""
        return {
            "effect": _number(self.effect),
            "low": _number(self.low),
            "high": _number(self.high),
            "n": self.n,
            "region": list(self.region),
            "label": self.label,
            "scale": self.scale,
            "method": self.method,
            "note": self.note,
        }

    def __str__(self) -> str:
        if not self.defined:
            return "undefined"
        if self.low == self.high:
            return f"{self.effect:.4g}"
        return f"{self.effect:.4g} [{self.low:.4g}, {self.high:.4g}]"


def checked_region(region: Region, scale: Scale = "linear") -> Region:
    """The region as a tuple of floats and ``None``; ValueError when it cannot decide anything."""
    try:
        lo, hi = (None if end is None else float(end) for end in region)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"region must be a pair (lo, hi) of numbers or None, got {region!r}"
        ) from error
    if lo is None and hi is None:
        raise ValueError("region is open on both sides, so that nothing could contradict the claim")
    ends = [end for end in (lo, hi) if end is not None]
    if not all(map(math.isfinite, ends)):
        raise ValueError(f"region must have finite ends (None for an open side), got {region!r}")
    if ends != sorted(ends):
        raise ValueError(f"region must have lo <= hi, got {region!r}")
    if scale == "log" and min(ends) <= 0:
        raise ValueError(
            f"region of a ratio must have positive ends (None for an open side), got {region!r}"
        )
    return lo, hi


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
