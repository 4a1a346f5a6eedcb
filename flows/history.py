"""What runs left: a record per flow run in the store, to compare, to rerun, to see what changed."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter
from upath import UPath

from overparam.errors import BadInput
from overparam.store import Store
from overparam.store.files import entry_names, put


@dataclass(frozen=True)
class RunRecord:
    """One run of one study.

    Attributes:
        id: the flow run's id.
        name: what was asked for: a study's name, or the absolute path of a study file.
        settings: the config fields that were overridden.
        run: what the command line's JSON says of the run.
        written: when it ended, ISO 8601 in UTC.
        number: counts the records of a store, so that a clock set back does not change their order.
    """

    id: str
    name: str
    profile: str
    settings: Mapping[str, Any]
    run: Mapping[str, Any]
    written: str
    number: int = 0

    @property
    def order(self) -> tuple[int, str]:
        """By what records are sorted."""
        return self.number, self.written

    @property
    def verdicts(self) -> dict[str, Mapping[str, Any]]:
        """The verdict rows by the name of the claim."""
        return {row["name"]: row for row in self.run["verdicts"]}


@dataclass(frozen=True)
class VerdictChange:
    """A verdict that is not what it was in the run before."""

    study: str
    claim: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.study}: {self.claim}: {self.before} → {self.after}"


_RECORD = TypeAdapter(RunRecord)


def record_run(
    store: Store, run_id: str, name: str, settings: Mapping[str, Any], run: Mapping[str, Any]
) -> RunRecord:
    """Keep the record of a run under ``ROOT/runs``."""
    made = datetime.now(UTC).isoformat()
    number = 1 + max((other.number for other in records(store)), default=0)
    record = RunRecord(run_id, name, str(run["profile"]), dict(settings), dict(run), made, number)
    put(store.root / "runs" / f"{run_id}.json", json.dumps(asdict(record)).encode())
    return record


def records(store: Store) -> Iterator[RunRecord]:
    """The records in the store, newest first; files that are none are passed over."""
    found = []
    for name in entry_names(store.root / "runs"):
        with suppress(ValueError, TypeError, KeyError, FileNotFoundError, IsADirectoryError):
            found.append(_read(store.root / "runs" / name))
    yield from sorted(found, key=lambda record: record.order, reverse=True)


def _read(file: UPath) -> RunRecord:
    record = _RECORD.validate_json(file.read_bytes())
    _ = record.verdicts, record.run["study"]  # what every reader asks for
    return record


def find_record(store: Store, run_id: str) -> RunRecord:
    """The record whose id begins with ``run_id`` (at least four characters).

    Raises:
        BadInput: none, or several; the newest ids are told.
    """
    known = list(records(store))
    found = [record for record in known if record.id.startswith(run_id) and len(run_id) >= 4]
    if len(found) == 1:
        return found[0]
    newest = ", ".join(f"{record.id[:8]} ({record.name})" for record in known[:5]) or "none"
    what = "several runs" if found else "no run"
    raise BadInput(f"{what} {run_id!r} on record in {store.address}; newest: {newest}")


def previous(store: Store, record: RunRecord) -> RunRecord | None:
    """The run before this one of the same study, profile and settings."""
    same = (
        other
        for other in records(store)
        if other.order < record.order
        and other.run["study"] == record.run["study"]
        and other.profile == record.profile
        and dict(other.settings) == dict(record.settings)
    )
    return next(same, None)


def changed_verdicts(before: RunRecord | None, after: RunRecord) -> list[VerdictChange]:
    """The claims whose verdict differs between two runs; none without an earlier run."""
    if before is None:
        return []
    changes = []
    for name, row in after.verdicts.items():
        old = before.verdicts.get(name)
        if old is not None and old["verdict"] != row["verdict"]:
            study = str(after.run["study"])
            changes.append(VerdictChange(study, row["claim"], old["verdict"], row["verdict"]))
    return changes


def changes_table(changes: Sequence[VerdictChange]) -> list[dict[str, str]]:
    """Rows for a table artifact."""
    return [asdict(change) for change in changes]
