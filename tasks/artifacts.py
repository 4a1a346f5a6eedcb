"""What a run leaves in the Prefect UI: tables per step, progress, and the verdicts."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from textwrap import wrap
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from overparam.reporting import Report
from overparam.reporting.words import (
    SYMBOLS,
    counted,
    interval,
    number,
    plural,
    region,
    size,
)
from overparam.store import Store
from overparam.study import Plan, StepRecord, Unit
from tasks.pool import Progress

FIRST_ROWS = 3
CELL_CHARACTERS = 80
KEY_CHARACTERS = 8
"""As much of a key as messages of cached tasks show."""

FAILURES_SHOWN = 10
CLAIM_CHARACTERS = 40

AGAIN = "Run again what is missing: "
"""How the last line of a failed task's message begins; the command follows."""


def artifact_key(*parts: str) -> str:
    """A key as Prefect wants it (lower case, digits, dashes), the same for every run of a cell."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(filter(None, parts)).lower()).strip("-")


def unit_key(unit: Unit) -> str:
    """The artifact key of a unit; the values of a batch are not in it."""
    batched = unit.step.batched[0] if unit.step.batched else None
    fixed = [f"{n}-{v}" for n, v in unit.cells[0].values.items() if n != batched]
    return artifact_key(unit.step.study, unit.step.name, *fixed)


def publish_tables(plan: Plan, unit: Unit, records: Sequence[StepRecord], store: Store) -> None:
    """A table artifact: one row per stored table, with its size, time, first rows and key."""
    rows = [
        {
            **({"cell": cell.label} if cell.values else {}),
            "table": name,
            "rows": figures["rows"],
            "size": size(figures["bytes"]),
            "seconds": round(record.seconds, 3),
            "first rows": first_rows(plan, store, cell, name),
            "key": record.key[:KEY_CHARACTERS],
        }
        for cell, record in zip(unit.cells, records, strict=True)
        for name, figures in record.tables.items()
    ]
    create_table_artifact(
        table=rows, key=unit_key(unit), description=f"Tables of **{unit.name}**, in the store."
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
        """Show how far a running unit is."""
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

    def close(self, progress: Progress | None) -> None:
        """Show the end of a unit whose progress has been shown; a short one needs none."""
        if self._artifact is not None:
            self.show(progress)


def publish_report(
    plan: Plan, records: Sequence[StepRecord], made: Report, *, command: str
) -> None:
    """A markdown artifact: question, verdicts, what became of the steps, how to run it again."""
    study = plan.study.name
    create_markdown_artifact(
        markdown="\n\n".join(report_markdown(plan, [*records, made.record], made, command)) + "\n",
        key=artifact_key(study, "report"),
        description=f"Verdicts of {study}, profile {plan.profile}",
    )


def report_markdown(
    plan: Plan, records: Sequence[StepRecord], made: Report, command: str
) -> Iterator[str]:
    """The paragraphs of the artifact."""
    study = plan.study
    yield f"# {study.name} · {plan.profile}"
    yield _line(study.question)
    if study.paper is not None:
        title, link = _line(study.paper.title), study.paper.link
        yield f"Paper: [{title}]({link})" if link else f"Paper: {title}"
    yield f"**{_line(made.answer or _tally(len(study.claims), made.verdicts))}**"
    if made.verdicts:
        yield "\n".join(_verdict_table(made.verdicts))
    counts = Counter(record.state for record in records)
    yield "Steps: " + ", ".join(f"{count} {state}" for state, count in counts.items())
    causes = dict.fromkeys(r.error.partition(AGAIN)[0] for r in records if r.state == "failed")
    if causes:
        yield "## Failed"
        yield _verbatim(list(causes)[:FAILURES_SHOWN])
        if len(causes) > FAILURES_SHOWN:
            yield f"and {len(causes) - FAILURES_SHOWN} more, among the task runs"
    yield "## Run it again"
    yield _verbatim([command])
    yield f"Page with figures, config and lineage: `{made.page}`"


def _tally(claims: int, verdicts: Sequence[Mapping[str, Any]]) -> str:
    """``3 claims: 2 reproduced, 1 not judged``."""
    found = [counted([row["verdict"] for row in verdicts])]
    if missing := claims - len(verdicts):
        found.append(f"{missing} not judged, as a step is missing")
    return f"{plural(claims, 'claim')}: {', '.join(filter(None, found)) or 'none'}"


def _verdict_table(verdicts: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Rows with line breaks of their own: the UI breaks none and cuts off the last columns."""
    yield "| claim | verdict | effect | allowed | control |"
    yield "| --- | --- | ---: | ---: | --- |"
    for row in verdicts:
        control = row["control"]
        exact = row["low"] == row["high"]
        cells = (
            [_line(part) for part in wrap(row["claim"], CLAIM_CHARACTERS)],
            [f"{SYMBOLS[row['verdict']]} **{row['verdict']}**"],
            [number(row["effect"]), "exact" if exact else interval(row["low"], row["high"])],
            [region(row["region"])],
            [_line(control["name"]), f"{number(control['effect'])}, {control['verdict']}"],
        )
        yield f"| {' | '.join(map('<br>'.join, cells))} |"


def _line(text: str) -> str:
    """Text in one line, harmless in a table and as HTML."""
    return escape(" ".join(text.split()), quote=False).replace("|", "\\|")


def _verbatim(texts: Iterable[str]) -> str:
    """A block that shows text as it is, whatever is in it."""
    return "\n".join(f"    {line}" for text in texts for line in text.splitlines())
