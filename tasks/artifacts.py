"""What a run leaves in the Prefect UI: tables per step, progress, and the verdicts."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from overparam.reporting.words import interval, number
from overparam.store import Store
from overparam.study import Plan, StepRecord, Unit
from tasks.pool import Progress

FIRST_ROWS = 3
CELL_CHARACTERS = 80


def artifact_key(*parts: str) -> str:
    """A key as Prefect wants it (lower case, digits, dashes), the same for every run of a cell."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(filter(None, parts)).lower()).strip("-")


def unit_key(unit: Unit) -> str:
    """The artifact key of a unit; the values of a batch are not in it."""
    batched = unit.step.batched[0] if unit.step.batched else None
    fixed = [f"{n}-{v}" for n, v in unit.cells[0].values.items() if n != batched]
    return artifact_key(unit.step.study, unit.step.name, *fixed)


def publish_tables(plan: Plan, unit: Unit, records: Sequence[StepRecord], store: Store) -> None:
    """A table artifact: one row per stored table, with its size, key, time and first rows."""
    rows = [
        {
            "cell": cell.label,
            "table": name,
            "rows": figures["rows"],
            "bytes": figures["bytes"],
            "key": record.key,
            "seconds": round(record.seconds, 3),
            "first rows": first_rows(plan, store, cell, name),
        }
        for cell, record in zip(unit.cells, records, strict=True)
        for name, figures in record.tables.items()
    ]
    create_table_artifact(
        table=rows,
        key=unit_key(unit),
        description=f"Tables of **{unit.name}**, stage *{unit.step.stage}*, in the store.",
    )


def first_rows(plan: Plan, store: Store, cell: Any, table: str) -> str:
    """The first rows of a stored table as short text."""
    batch = next(store.read(plan.ref(cell)).batches(table), None)
    rows = [] if batch is None else batch.slice(0, FIRST_ROWS).to_pylist()
    return "\n".join(
        ", ".join(f"{name}={str(value)[:CELL_CHARACTERS]}" for name, value in row.items())
        for row in rows
    )


class ProgressArtifact:
    """The progress artifact of a unit, made when there is progress and updated when it changed."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._artifact: UUID | None = None
        self._shown: Progress | None = None

    def show(self, progress: Progress | None) -> None:
        if progress is None or progress == self._shown or not progress.total:
            return
        self._shown = progress
        percent = 100 * progress.done / progress.total
        if self._artifact is None:
            self._artifact = create_progress_artifact(  # type: ignore[assignment]
                progress=percent,
                key=artifact_key(unit_key(self._unit), "progress"),
                description=f"{self._unit.name} {progress.description}".strip(),
            )
        else:
            update_progress_artifact(artifact_id=self._artifact, progress=percent)


def publish_report(study: str, verdicts: Sequence[Mapping[str, Any]], page: str) -> None:
    """A markdown artifact with the verdicts and a link to the page."""
    lines = ["| claim | verdict | effect | interval | control |", "| --- | --- | --- | --- | --- |"]
    for row in verdicts:
        control = row["control"]
        lines.append(
            f"| {_cell(row['claim'])} | **{row['verdict']}** | {number(row['effect'])} | "
            f"{interval(row['low'], row['high'])} | "
            f"{_cell(control['name'])}: {control['verdict']} |"
        )
    create_markdown_artifact(
        markdown=f"# {study}\n\n" + "\n".join(lines) + f"\n\n[Report]({page}) at `{page}`\n",
        key=artifact_key(study, "report"),
        description=f"Verdicts of {study}",
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
