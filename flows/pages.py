"""Write pages and the index from what is stored, without running a step."""

from collections.abc import Iterator, Sequence

from overparam.reporting import make_report
from overparam.store import Store
from overparam.studies import find, load
from overparam.study import Plan, StepRecord, cached_records, make_plan, record_of
from tasks import Run, rerun_command


def write_pages(studies: Sequence[str], profile: str, store: Store) -> Iterator[tuple[str, str]]:
    """Write the page of each study; yields study and page, or study and why there is none."""
    for name in studies:
        entry = find(name)
        plan = make_plan(load(name), profile)
        records = _stored(plan, store)
        if len(plan.lost) == len(plan.cells):
            yield name, f"nothing is stored; first run: overparam run {name} --profile {profile}"
            continue
        run = Run(entry.module, entry.study, profile, "{}", store.address)
        yield name, make_report(plan, store, records, command=rerun_command(run)).page


def _stored(plan: Plan, store: Store) -> list[StepRecord]:
    """The records of what is stored; the rest is lost to the plan."""
    records: list[StepRecord] = []
    for unit in plan.units:
        found = cached_records(plan, unit, store) if all(map(plan.readable, unit.cells)) else None
        if found is None:
            for cell in unit.cells:
                plan.lose(cell)
            found = [record_of(plan, cell, store, "skipped", None) for cell in unit.cells]
        records += found
    return records
