"""Forest plots: the effect and interval of an arm and its control against the allowed region."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH = 360.0
MARGIN = 14.0
EDGE = 2.0
LARGEST_POWER = 307
"""Of ten, that a float holds with all its digits."""
STEPS = (1, 2, 5, 10)
MOST_TICKS = 5


@dataclass(frozen=True)
class Mark:
    """An effect with its interval, in pixels; an end beyond the axis is drawn as an arrow."""

    name: str
    effect: float | None
    low: float
    high: float
    cut_low: bool
    cut_high: bool


@dataclass(frozen=True)
class Panel:
    """One part of a claim: its marks, region and axis, in pixels from the left.

    Attributes:
        label: what was measured.
        log: whether the axis is logarithmic.
        region: the shaded span.
        ends: the finite ends of the region, drawn as lines.
        ticks: position and value of the axis ticks.
    """

    label: str
    log: bool
    arm: Mark
    control: Mark
    region: tuple[float, float]
    ends: tuple[float, ...]
    ticks: tuple[tuple[float, float], ...]


def forest(row: Mapping[str, Any]) -> list[Panel]:
    """One panel per part of a claim, each on its own scale, since units differ.

    Args:
        row: of ``ClaimVerdict.to_dict``.
    """
    return [_panel(row["arm"], row["control"]["name"], part) for part in row["parts"]]


def _panel(arm_name: str, control_name: str, arm: Mapping[str, Any]) -> Panel:
    control = arm["control"]
    ends = [end for end in arm["region"] if end is not None]
    values = [
        value
        for part in (arm, control)
        for value in (part["effect"], part["low"], part["high"])
        if value is not None
    ]
    log = arm["scale"] == "log" and min(values + ends) > 0
    axis = _Axis(*_span(arm, control, ends, log), log)
    low, high = arm["region"]
    return Panel(
        label=arm["label"],
        log=log,
        arm=_mark(arm_name, arm, axis),
        control=_mark(control_name, control, axis),
        region=(
            0.0 if low is None else axis.place(low),
            WIDTH if high is None else axis.place(high),
        ),
        ends=tuple(axis.place(end) for end in ends),
        ticks=tuple((axis.place(tick), tick) for tick in axis.ticks()),
    )


@dataclass(frozen=True)
class _Axis:
    """From ``low`` at the left margin to ``high`` at the right one; with ``log``, logarithms."""

    low: float
    high: float
    log: bool

    def place(self, value: float) -> float:
        at = _scaled(value, self.log)
        share = (at - self.low) / (self.high - self.low)
        return round(min(max(MARGIN + share * (WIDTH - 2 * MARGIN), EDGE), WIDTH - EDGE), 2)

    def cuts(self, value: float | None) -> bool:
        """Whether the end of an interval lies beyond the axis; ``None`` is unbounded."""
        if value is None or (self.log and value <= 0):
            return True
        return not self.low <= _scaled(value, self.log) <= self.high

    def ticks(self) -> list[float]:
        """Some round values."""
        if not self.log:
            return _round_values(self.low, self.high)
        if math.floor(self.high) - math.ceil(self.low) >= 1:
            every = math.ceil((self.high - self.low) / MOST_TICKS)
            powers = range(math.ceil(self.low), math.floor(self.high) + 1, every)
            return [10.0**power for power in powers if abs(power) <= LARGEST_POWER]
        return _round_values(10.0**self.low, 10.0**self.high)


def _round_values(low: float, high: float) -> list[float]:
    decade = 10.0 ** math.floor(math.log10((high - low) / MOST_TICKS))
    step = next(m * decade for m in STEPS if (high - low) / (m * decade) <= MOST_TICKS)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [
        round(index * step, 12 - math.floor(math.log10(step))) for index in range(first, last + 1)
    ]


def _span(
    arm: Mapping[str, Any], control: Mapping[str, Any], ends: Sequence[float], log: bool
) -> tuple[float, float]:
    """The scaled ends of the axis: effects, region and the arm's interval are in it.

    The control's interval is followed at most so far that the rest keeps half of the axis.
    """
    core = [arm["effect"], arm["low"], arm["high"], control["effect"], *ends]
    inner = [_scaled(value, log) for value in core if value is not None]
    low, high = min(inner), max(inner)
    room = (high - low) / 2
    beyond = [_scaled(v, log) for v in (control["low"], control["high"]) if v is not None]
    low = min([low, *(max(v, low - room) for v in beyond)])
    high = max([high, *(min(v, high + room) for v in beyond)])
    pad = 0.08 * (high - low) or 0.5 * (1.0 if log else abs(high)) or 1.0
    low, high = low - pad, high + pad
    return low, high


def _mark(name: str, part: Mapping[str, Any], axis: _Axis) -> Mark:
    cut_low, cut_high = axis.cuts(part["low"]), axis.cuts(part["high"])
    return Mark(
        name=name,
        effect=None if part["effect"] is None else axis.place(part["effect"]),
        low=EDGE if part["low"] is None or cut_low else axis.place(part["low"]),
        high=WIDTH - EDGE if part["high"] is None or cut_high else axis.place(part["high"]),
        cut_low=cut_low,
        cut_high=cut_high,
    )


def _scaled(value: float, log: bool) -> float:
    return math.log10(value) if log else value
