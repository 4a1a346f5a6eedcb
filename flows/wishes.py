"""What a user wants run again, and which cells at all: ``--fresh``, ``--from``, ``--only``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from overparam.errors import BadInput
from overparam.study import Cell, Plan
from overparam.study.signature import nearest


@dataclass(frozen=True)
class Wish:
    """What to run in spite of the store, and what not to run in spite of its absence.

    Attributes:
        fresh: every step again.
        from_step: this step and all that reads it, again.
        only: values of cell names; a cell that has one of these names with another value is not
            run. What is stored of it is used.
    """

    fresh: bool = False
    from_step: str | None = None
    only: Mapping[str, Any] = field(default_factory=dict)

    def check(self, plan: Plan) -> None:
        """Check the names against a plan.

        Raises:
            BadInput: no such step, cell name or value; what there is, is told.
        """
        steps = plan.study.steps
        if self.from_step is not None and self.from_step not in steps:
            raise BadInput(
                f"no step {self.from_step!r} in {plan.study.name}{nearest(self.from_step, steps)}"
            )
        found: dict[str, dict[str, None]] = {}
        for cell in plan.cells:
            for name, value in cell.values.items():
                found.setdefault(name, {})[str(value)] = None
        for name, value in self.only.items():
            if name not in found:
                raise BadInput(f"no step is spread over {name!r}{nearest(name, found)}")
            if str(value) not in found[name]:
                raise BadInput(f"no cell has {name}={value}{nearest(str(value), found[name])}")

    def wants(self, cell: Cell) -> bool:
        """Whether the cell is among those asked for."""
        return all(
            str(cell.values[name]) == str(value)
            for name, value in self.only.items()
            if name in cell.values
        )

    def forced(self, plan: Plan) -> frozenset[Cell]:
        """The cells that run whatever is stored."""
        if self.fresh:
            return frozenset(filter(self.wants, plan.cells))
        chosen: set[Cell] = set()
        if self.from_step is None:
            return frozenset()
        for cell in plan.cells:
            own = cell.step is plan.study.steps[self.from_step]
            if own or any(up in chosen for ups in cell.inputs.values() for up in ups):
                chosen.add(cell)
        return frozenset(filter(self.wants, chosen))
