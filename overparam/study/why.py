"""Why a step would run: what changed since the newest stored artifact of the same cell."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from overparam.fingerprint import changed_parts
from overparam.store import Store
from overparam.study.plan import Cell, Plan

Kind = Literal["config", "code", "upstream", "data", "missing"]


@dataclass(frozen=True)
class Change:
    """One reason: a config field, a function, an upstream step, a data file, or nothing stored."""

    kind: Kind
    what: str
    old: Any = None
    new: Any = None

    def __str__(self) -> str:
        if self.kind == "missing":
            return f"missing: {self.what}"
        if self.kind == "config":
            return f"config: {self.what} was {self.old!r}, is {self.new!r}"
        if self.kind == "code":
            verb = "is new" if self.old is None else "is gone" if self.new is None else "changed"
            return f"code: {self.what} {verb}"
        return f"{self.kind}: {self.what} changed"


@dataclass(frozen=True)
class Reason:
    """A cell, whether it would run, and why."""

    step: str
    cell: Mapping[str, Any]
    name: str
    would_run: bool
    changes: tuple[Change, ...]

    def to_dict(self) -> dict[str, Any]:
        """The row of the command line's JSON."""
        return {
            "step": self.step,
            "cell": dict(self.cell),
            "would_run": self.would_run,
            "changes": [asdict(change) for change in self.changes],
        }


def explain(plan: Plan, store: Store) -> list[Reason]:
    """One reason per cell of the plan."""
    reasons = []
    for cell in plan.cells:
        stored = store.has(plan.ref(cell))
        changes = () if stored else tuple(_changes(plan, cell, store))
        reasons.append(Reason(cell.step.name, dict(cell.values), cell.name, not stored, changes))
    return reasons


def _changes(plan: Plan, cell: Cell, store: Store) -> Iterator[Change]:
    newest = store.newest(cell.step.study, cell.step.name, cell=cell.values)
    if newest is None:
        yield Change("missing", "nothing is stored for this cell")
        return
    old: Mapping[str, Any] = newest.meta
    new = plan.key_parts(cell)
    for name in sorted(old["config"].keys() | new["config"].keys()):
        before, after = old["config"].get(name), new["config"].get(name)
        if before != after:
            is_data = any(isinstance(v, dict) and "content" in v for v in (before, after))
            yield Change("data" if is_data else "config", name, before, after)
    if old["stage"] != new["stage"]:
        yield Change("code", f"stage of {cell.step.name}", old["stage"], new["stage"])
    if old["code"] != new["code"]:
        parts = plan.fingerprint(cell.step).parts
        for part, before, after in changed_parts(old["code_parts"], parts):
            yield Change("code", part, before, after)
    named_before, named_after = old.get("cell_code", {}), new.get("cell_code", {})
    for name in sorted(named_before.keys() | named_after.keys()):
        before, after = named_before.get(name), named_after.get(name)
        if before != after:
            yield Change("code", f"{name} {cell.values[name]}", before, after)
    for name in sorted(old["upstream"].keys() | new["upstream"].keys()):
        before, after = old["upstream"].get(name), new["upstream"].get(name)
        if before != after:
            yield Change("upstream", name, before, after)
