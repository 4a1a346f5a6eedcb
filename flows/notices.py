"""Tell who watches, in the Prefect UI: verdicts that changed, and how a night went."""

from collections.abc import Mapping, Sequence

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


def publish_overview(profile: str, rows: Sequence[Mapping[str, str]]) -> None:
    """A table artifact of one run of many studies: a row per study."""
    create_table_artifact(
        table=[dict(row) for row in rows],
        key=f"reproduce-{profile}",
        description=f"What became of each study, profile {profile}.",
    )
