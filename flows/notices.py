"""Tell who watches: verdicts that changed become an event and a table in the Prefect UI."""

from collections.abc import Sequence

from prefect.artifacts import create_table_artifact
from prefect.events import emit_event

from flows.history import VerdictChange, changes_table

EVENT = "overparam.verdict.changed"
"""The event of a changed verdict; an automation can be triggered by it, see docs/operations.md."""


def announce(changes: Sequence[VerdictChange]) -> None:
    """Emit an event per changed verdict, and leave one table of all of them; nothing if none."""
    for change in changes:
        emit_event(
            event=EVENT,
            resource={
                "prefect.resource.id": f"overparam.study.{change.study}",
                "prefect.resource.name": change.study,
            },
            payload={"claim": change.claim, "before": change.before, "after": change.after},
        )
    if changes:
        create_table_artifact(
            table=changes_table(changes),
            key="verdicts-changed",
            description="Verdicts that differ from those of the run before.",
        )
