"""What a run shows while it goes: nothing (served runs, tests), or a bar per step."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from overparam.study import Plan, StepRecord, Unit
from tasks import Workers


class Display(Protocol):
    """Told of each unit of a run when it starts and when it ends."""

    @contextmanager
    def run(self, plan: Plan, workers: Workers) -> Iterator[None]:
        """Around the run of a plan."""
        yield

    def started(self, unit: Unit) -> None: ...

    def finished(self, unit: Unit, records: Sequence[StepRecord]) -> None: ...


class Silent:
    """Shows nothing."""

    @contextmanager
    def run(self, plan: Plan, workers: Workers) -> Iterator[None]:
        yield

    def started(self, unit: Unit) -> None:
        pass

    def finished(self, unit: Unit, records: Sequence[StepRecord]) -> None:
        pass


current_display: ContextVar[Display | None] = ContextVar("display", default=None)
"""Set by the command line; a flow run by a server shows nothing."""


def tally(records: Sequence[StepRecord]) -> str:
    """``3 completed, 2 cached``."""
    counts = Counter(record.state for record in records)
    return ", ".join(f"{count} {state}" for state, count in counts.items())
