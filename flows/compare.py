"""Two runs side by side: configs, keys, verdicts, effects with their intervals, seconds."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from flows.history import RunRecord


@dataclass(frozen=True)
class Difference:
    """One thing in two runs; ``same`` says whether it is equal (effects: within noise)."""

    kind: str
    what: str
    left: Any
    right: Any
    same: bool


@dataclass(frozen=True)
class Comparison:
    """Two runs and all that was compared."""

    left: RunRecord
    right: RunRecord
    rows: tuple[Difference, ...]

    def of(self, kind: str) -> list[Difference]:
        """The rows of one kind: config, key, verdict, effect, seconds."""
        return [row for row in self.rows if row.kind == kind]

    def to_dict(self) -> dict[str, Any]:
        """The command line's JSON."""
        return {
            "left": {"id": self.left.id, "study": self.left.run["study"]},
            "right": {"id": self.right.id, "study": self.right.run["study"]},
            "rows": [asdict(row) for row in self.rows],
        }


def compare(left: RunRecord, right: RunRecord) -> Comparison:
    """Compare two runs; what one of them lacks is ``None`` there."""
    rows = [
        *_pairs("config", left.run["config"], right.run["config"]),
        *_pairs("key", _keys(left), _keys(right)),
        *_pairs("verdict", _verdicts(left), _verdicts(right)),
        *_effects(left, right),
        *_pairs("seconds", _seconds(left), _seconds(right)),
    ]
    return Comparison(left, right, tuple(rows))


def _pairs(kind: str, left: Mapping[str, Any], right: Mapping[str, Any]) -> list[Difference]:
    names = dict.fromkeys([*left, *right])
    return [
        Difference(kind, n, left.get(n), right.get(n), left.get(n) == right.get(n)) for n in names
    ]


def _keys(record: RunRecord) -> dict[str, str]:
    return {_label(step): step["key"] for step in record.run["steps"]}


def _verdicts(record: RunRecord) -> dict[str, str]:
    return {row["claim"]: row["verdict"] for row in record.verdicts.values()}


def _seconds(record: RunRecord) -> dict[str, float]:
    """Seconds per step, its cells together, of when they were computed."""
    total: dict[str, float] = {}
    for step in record.run["steps"]:
        total[step["step"]] = round(total.get(step["step"], 0.0) + step["seconds"], 3)
    return total


def _label(step: Mapping[str, Any]) -> str:
    return " · ".join([step["step"], *(f"{n}={v}" for n, v in step["cell"].items())])


def _effects(left: RunRecord, right: RunRecord) -> list[Difference]:
    """Every piece of evidence of every claim; two effects are the same within their noise."""
    rows = []
    for name in dict.fromkeys([*left.verdicts, *right.verdicts]):
        ours, theirs = left.verdicts.get(name), right.verdicts.get(name)
        parts = [(row or {}).get("parts", []) for row in (ours, theirs)]
        for index in range(max(map(len, parts))):
            pair = [side[index] if index < len(side) else None for side in parts]
            label = next(part["label"] for part in pair if part is not None)
            title = (ours or theirs or {})["claim"]
            what = f"{title} ({label})" if label else str(title)
            left_shown, right_shown = (_interval(part) for part in pair)
            same = _within_noise(*pair)
            rows.append(Difference("effect", what, left_shown, right_shown, same))
    return rows


def _interval(part: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if part is None else {name: part[name] for name in ("effect", "low", "high", "n")}


def _within_noise(left: Mapping[str, Any] | None, right: Mapping[str, Any] | None) -> bool:
    """Whether two effects differ by less than the half-widths that face each other."""
    if left is None or right is None:
        return left is right
    numbers = [left["effect"], right["effect"], left["low"], left["high"], right["low"]]
    if any(value is None for value in [*numbers, right["high"]]):
        return bool(left["effect"] == right["effect"])
    lower, upper = sorted((left, right), key=lambda part: part["effect"])
    gap = upper["effect"] - lower["effect"]
    noise = math.hypot(lower["high"] - lower["effect"], upper["effect"] - upper["low"])
    return bool(gap <= noise)
