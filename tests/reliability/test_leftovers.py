"""What killed runs leave is cleaned away, and a clock set back changes no order."""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows import history
from flows.history import changed_verdicts, previous, record_run, records
from overparam.store import ArtifactRef, Store, apply_clean, pinned, pinned_by_run, plan_clean
from tasks.pool import Progress, _tell

REF = ArtifactRef("study", "step", "0123456789abcdef")
HOUR = 3600


def aged(path: Path, seconds: float) -> Path:
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


@pytest.fixture
def ended_pid() -> int:
    """The process id of a process that is no more."""
    return int(subprocess.check_output([sys.executable, "-c", "import os; print(os.getpid())"]))


def left_by_a_killed_run(root: Path, pid: int) -> set[Path]:
    """Every kind of file that a kill -9 may leave outside of ``artifacts``."""
    pin = root / "pins" / f"run-{pid}-00000000.json"
    with pinned_by_run(Store.open(root), [REF]):
        (found,) = (root / "pins").iterdir()
        content = json.loads(found.read_text()) | {"pid": pid}
    pin.write_text(json.dumps(content))
    files = {
        pin,
        root / "probe-0123456789abcdef",
        root / ".probe-0123-4567.tmp",
        root / "pins" / ".run-1-2.tmp",
        root / "runs" / ".1a2b-3c4d.tmp",
        root / "reports" / "study" / ".quick-3c4d.tmp",
        root / "failures" / "study" / "step" / ".0123-3c4d.tmp",
        root / "scratch" / REF.key / ".tensors-3c4d.tmp",
    }
    for file in files - {pin}:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"half")
    return files


def test_leftovers_go_when_they_are_an_hour_old(store: Store, ended_pid: int) -> None:
    root = Path(str(store.root))
    files = left_by_a_killed_run(root, ended_pid)
    kept = root / "runs" / "1a2b.json"
    aged(kept, 0) if kept.exists() else kept.write_text("{}")
    assert plan_clean(store) == []  # a run that is still at work may have written them
    for file in [*files, kept]:
        aged(file, 2 * HOUR)
    assert {Path(str(removal.path)) for removal in plan_clean(store)} == files
    assert plan_clean(store, study="study") == []
    assert apply_clean(plan_clean(store)) > 0
    assert not any(file.exists() for file in files) and kept.exists()


def test_the_pin_of_a_run_under_way_stays_however_old(store: Store) -> None:
    with pinned_by_run(store, [REF]):
        (pin,) = Path(str(store.root), "pins").iterdir()
        aged(pin, 1000 * HOUR)
        assert plan_clean(store) == []
        assert pinned(store) == {REF}
    assert not pin.exists()


def test_a_pin_that_can_not_be_removed_does_not_hide_what_went_wrong(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise OSError(30, "Read-only file system")

    with pytest.raises(RuntimeError, match="the step's own"), pinned_by_run(store, [REF]):
        monkeypatch.setattr(os, "unlink", refuse)
        raise RuntimeError("the step's own")


def test_progress_that_can_not_be_told_does_not_end_a_step(tmp_path: Path) -> None:
    _tell(tmp_path / "no" / "such" / "place.json", Progress(1, 2, "descent"))


# clocks


class Clock(datetime):
    """A clock that a test sets."""

    now_is = datetime(2026, 7, 1, tzinfo=UTC)

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        return cls.now_is


def run(verdict: str) -> dict[str, object]:
    row = {"name": "claim", "claim": "It holds", "verdict": verdict}
    return {"study": "steady", "profile": "quick", "verdicts": [row]}


def test_records_keep_their_order_when_the_clock_is_set_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "datetime", Clock)
    first = record_run(store, "aaaa", "steady", {}, run("reproduced"))
    Clock.now_is -= timedelta(days=1)
    second = record_run(store, "bbbb", "steady", {}, run("contradicted"))
    Clock.now_is -= timedelta(days=1)
    third = record_run(store, "cccc", "steady", {}, run("contradicted"))
    assert second.written < first.written
    assert [record.id for record in records(store)] == ["cccc", "bbbb", "aaaa"]
    assert previous(store, third) == second and previous(store, second) == first
    (change,) = changed_verdicts(previous(store, second), second)
    assert (change.before, change.after) == ("reproduced", "contradicted")


def test_records_of_older_versions_come_before_those_that_are_counted(store: Store) -> None:
    new = record_run(store, "bbbb", "steady", {}, run("reproduced"))
    content = json.loads(Path(str(store.root), "runs", "bbbb.json").read_text())
    del content["number"]
    old = Path(str(store.root), "runs", "aaaa.json")
    old.write_text(json.dumps(content | {"id": "aaaa", "written": "2099-01-01T00:00:00+00:00"}))
    assert [record.id for record in records(store)] == ["bbbb", "aaaa"]
    assert previous(store, new) is not None


def test_nothing_written_in_the_future_is_cleaned_by_age(store: Store) -> None:
    """What the clock said before it was set back."""
    import pandas as pd

    store.write(REF, {"t": pd.DataFrame({"x": [1]})}, meta={})
    folder = Path(str(store.folder(REF)))
    (folder / "orphan-0123456789abcdef.parquet").write_bytes(b"x")
    for file in folder.iterdir():
        aged(file, -48 * HOUR)
    assert plan_clean(store, older_than=timedelta(0), orphans=True) != []  # the artifact itself
    assert plan_clean(store) == []
    assert store.has(REF) and list(store.verify()) == []
