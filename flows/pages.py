"""Write pages and the index from what is stored, without running a step."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import overparam
from overparam.reporting import (
    IndexClaim,
    IndexRow,
    make_report,
    recorded_verdicts,
    update_readme,
    write_index,
)
from overparam.store import Store
from overparam.studies import Entry, entries, find, load
from overparam.study import Plan, StepRecord, cached_records, make_plan, record_of
from tasks import Run, rerun_command


@dataclass(frozen=True)
class Written:
    """A study, and the address of its page or why there is none."""

    study: str
    page: str
    why: str = ""


def write_pages(studies: Sequence[str], profile: str, store: Store) -> tuple[list[Written], str]:
    """Write the page of each study, and the index of all studies.

    Returns:
        What was written, and the address of the index.
    """
    written, rows = [], {}
    for entry in [find(name) for name in studies]:
        found, row = _write_page(entry, profile, store)
        written.append(found)
        rows[entry.study] = row
    index = store.reports / "index.html"
    others = [entry for entry in entries() if entry.paper and entry.study not in rows]
    write_index([*rows.values(), *(_bare_row(entry) for entry in others)], index)
    return written, str(index)


def update_scoreboard() -> bool:
    """Write the recorded verdicts into the README of the checkout, if this is one.

    Returns:
        Whether the README has changed.
    """
    readme = Path(overparam.__file__).parent.parent / "README.md"
    if not readme.is_file():
        return False
    return update_readme(readme, {entry.study: entry.theme for entry in entries()})


def _write_page(entry: Entry, profile: str, store: Store) -> tuple[Written, IndexRow]:
    if not entry.available:
        return Written(entry.study, "", f"needs an extra: {entry.install_line}"), _bare_row(entry)
    study = load(entry.study if not entry.module.endswith(".py") else entry.module)
    plan = make_plan(study, profile)
    records = _stored(plan, store)
    recorded = recorded_verdicts(study)
    if len(plan.lost) == len(plan.cells):
        why = f"nothing is stored; first run: overparam run {entry.study} --profile {profile}"
        return Written(entry.study, "", why), IndexRow.of(study, recorded=recorded)
    run = Run(entry.module, entry.study, profile, "{}", store.address)
    made = make_report(plan, store, records, command=rerun_command(run))
    row = IndexRow.of(
        study, verdicts=made.verdicts, page=made.page, profile=profile, recorded=recorded
    )
    return Written(entry.study, made.page), row


def _bare_row(entry: Entry) -> IndexRow:
    """The row of a study that is not looked at: what its file says."""
    return IndexRow(
        study=entry.study,
        theme=entry.theme,
        title=entry.paper["title"],
        question=entry.question,
        claims=tuple(IndexClaim(title) for title in entry.claims),
        missing="" if entry.available else entry.install_line,
    )


def _stored(plan: Plan, store: Store) -> list[StepRecord]:
    """The records of what is stored; the rest is lost to the plan."""
    found: list[StepRecord] = []
    for unit in plan.units:
        cached = cached_records(plan, unit, store) if all(map(plan.readable, unit.cells)) else None
        if cached is None:
            for cell in unit.cells:
                plan.lose(cell)
            cached = [record_of(plan, cell, store, "skipped", None) for cell in unit.cells]
        found += cached
    return found
