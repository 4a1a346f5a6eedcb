"""The five verdicts: what the evidence of an arm and of its control says about a claim."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from overparam.evidence._evidence import Evidence

Verdict = Literal["reproduced", "contradicted", "inconclusive", "undecided", "void"]

_LEAST_N = 3


@dataclass(frozen=True)
class Judgement:
    """A claim's verdict with everything it rests on.

    Attributes:
        verdict: the answer.
        arm, control: the parts of the claim, in the same order.
        control_verdict: the control's evidence judged by itself, never "void".
        reason: one sentence that says why.
    """

    verdict: Verdict
    arm: tuple[Evidence, ...]
    control: tuple[Evidence, ...]
    control_verdict: Verdict
    reason: str

    @property
    def decisive(self) -> int:
        """Index of the part to show where there is room for one: the worst for the claim."""
        return _worst_part(self.arm)

    def to_dict(self) -> dict[str, Any]:
        """Fields as JSON values."""
        return {
            "verdict": self.verdict,
            "arm": [part.to_dict() for part in self.arm],
            "control": [part.to_dict() for part in self.control],
            "control_verdict": self.control_verdict,
            "reason": self.reason,
        }


def judge(
    arm: Evidence | Sequence[Evidence],
    control: Evidence | Sequence[Evidence],
    *,
    decided: bool = True,
) -> Judgement:
    """Verdict on a claim from its arm and a control that is known not to have the property.

    In this order:

    1. *undecided*: ``decided`` is false (the profile is smaller than the one the claim is decided
       at), or a part of the arm or of the control has n < 3.
    2. *void*: the control did not fail. It failed if it is not reproduced by itself and, in at
       least one part where it is not inside the region, its effect differs from the arm's by more
       than the half-widths that face each other, combined in quadrature (on the evidence's scale).
       Exact findings have no width: there the effects just have to differ. An undefined effect (a
       control that diverged) differs from every defined one, and never from another undefined one.
       A control of which every value is NaN was not measured: it differs from nothing.
    3. *reproduced*: every interval lies in its region. *contradicted*: at least one lies wholly
       outside. *inconclusive*: everything else, undefined effects included.

    Args:
        arm: one evidence, or several that must all hold.
        control: the same parts of the control, in the same order.
        decided: whether this profile is large enough for the claim.

    Raises:
        TypeError: something that is not Evidence (``control=None`` in particular).
        ValueError: no parts, or arm and control differ in number or scale of parts.
    """
    arm, control = _parts(arm, "arm"), _parts(control, "control")
    if len(arm) != len(control):
        raise ValueError(f"arm has {len(arm)} parts and control {len(control)}, must be the same")
    for index, (ours, theirs) in enumerate(zip(arm, control, strict=True)):
        if ours.scale != theirs.scale:
            raise ValueError(f"part {index} has scale {ours.scale!r} and {theirs.scale!r}")
    control_verdict = _verdict_of(control)
    verdict: Verdict = _verdict_of(arm)
    failing = [
        index
        for index, (ours, theirs) in enumerate(zip(arm, control, strict=True))
        if not theirs.inside and _differ(ours, theirs)
    ]
    if not decided:
        verdict = "undecided"
        reason = "This profile is smaller than the one the claim is decided at."
    elif (small := _smallest(arm + control)) < _LEAST_N:
        verdict = "undecided"
        reason = f"n = {small} is fewer than the {_LEAST_N} repetitions a verdict needs."
    elif control_verdict == "reproduced":
        verdict = "void"
        reason = f"The control has the property as well: {_found(control)}."
    elif not failing:
        verdict = "void"
        part = _worst_part(control)
        absent = [theirs for theirs in control if theirs.missing and not theirs.inside]
        reason = (
            f"The control was not measured ({absent[0].note})."
            if absent
            else f"The control's effect {_shown(control, part)} cannot be told from the arm's "
            f"{_shown(arm, part)}."
        )
    else:
        found = _found(arm)
        reason = f"{found[0].upper()}{found[1:]}; the control's is {_shown(control, failing[0])}."
    return Judgement(verdict, arm, control, control_verdict, reason)


def _parts(evidence: Evidence | Sequence[Evidence], name: str) -> tuple[Evidence, ...]:
    if isinstance(evidence, Evidence):
        return (evidence,)
    if not isinstance(evidence, Sequence) or isinstance(evidence, str):
        raise TypeError(f"{name} must be Evidence or a sequence of it, got {evidence!r}")
    for part in evidence:
        if not isinstance(part, Evidence):
            raise TypeError(f"{name} must hold Evidence only, got {part!r}")
    if not evidence:
        raise ValueError(f"{name} holds no evidence")
    return tuple(evidence)


def _verdict_of(parts: tuple[Evidence, ...]) -> Verdict:
    if _smallest(parts) < _LEAST_N:
        return "undecided"
    if all(part.inside for part in parts):
        return "reproduced"
    if any(part.outside for part in parts):
        return "contradicted"
    return "inconclusive"


def _smallest(parts: tuple[Evidence, ...]) -> float:
    return min((math.inf if part.n is None else part.n) for part in parts)


def _differ(arm: Evidence, control: Evidence) -> bool:
    """Whether two effects of one scale differ by more than their intervals explain."""
    if control.missing:
        return False
    if not (arm.defined and control.defined):
        return arm.defined != control.defined
    lower, upper = sorted((arm, control), key=lambda part: part.effect)
    gap = _distance(lower.effect, upper.effect, arm.scale)
    noise = math.hypot(
        _distance(lower.effect, lower.high, arm.scale),
        _distance(upper.low, upper.effect, arm.scale),
    )
    return gap > noise


def _distance(start: float, stop: float, scale: str) -> float:
    if scale == "linear":
        return stop - start
    return math.log(stop) - (math.log(start) if start > 0 else -math.inf)


def _worst_part(parts: tuple[Evidence, ...]) -> int:
    """The first part outside its region, else the first that is not inside, else the first."""
    ranks = [0 if part.outside else 2 if part.inside else 1 for part in parts]
    return ranks.index(min(ranks))


def _found(parts: tuple[Evidence, ...]) -> str:
    """Clause on where the effects lie, naming the part that is worst for the claim."""
    index = _worst_part(parts)
    part = parts[index]
    if part.inside and len(parts) > 1:
        return f"all {len(parts)} effects lie in their regions, the first is {_shown(parts, 0)}"
    if part.inside:
        place = "lies in"
    elif part.outside:
        place = "lies outside"
    else:
        place = "is neither in nor outside"
    return f"the effect {_shown(parts, index)} {place} {_region(part)}"


def _shown(parts: tuple[Evidence, ...], index: int) -> str:
    part = parts[index]
    name = f" ({part.label})" if part.label else f" (part {index + 1})" if len(parts) > 1 else ""
    note = f" ({part.note})" if part.note and not part.defined else ""
    return f"{part}{name}{note}"


def _region(part: Evidence) -> str:
    lo, hi = part.region
    left = "(-inf" if lo is None else f"[{lo:.4g}"
    right = "inf)" if hi is None else f"{hi:.4g}]"
    return f"{left}, {right}"
