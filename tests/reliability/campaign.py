"""Start whole runs as processes of their own, disturb them, and judge what they leave."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from overparam.store import Manifest, Store, equal_tables

ROOT = Path(__file__).parents[2]
STEADY = str(ROOT / "tests" / "toys" / "steady.py")
SABOTAGE = Path(__file__).parent / "sabotage"
COMMAND = (sys.executable, "-c", "from flows.cli import main; main()")

PATIENCE = 240
"""Seconds that a run may take on a machine that is busy otherwise."""

PROMPT = 60
"""Seconds within which what was told to end has ended, on such a machine."""


def wait_until(holds: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Wait for a condition; returns what it gave."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.02)
    return found


@dataclass
class Run:
    """A command under way, with all processes that it started: they are one session."""

    process: subprocess.Popen[bytes]
    files: Path

    @property
    def out(self) -> str:
        return (self.files / "out").read_text()

    @property
    def err(self) -> str:
        return (self.files / "err").read_text()

    @property
    def runs(self) -> list[dict[str, Any]]:
        """The runs of the command's JSON, which is all that standard output holds."""
        return json.loads(self.out)["runs"]

    def members(self) -> list[int]:
        """The living processes of the session."""
        return [pid for pid, session in sessions() if session == self.process.pid]

    def kill(self) -> None:
        """What a power cut does: all of the session ends at once."""
        for pid in self.members():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(PATIENCE)

    def signal(self, number: int) -> None:
        """Send a signal to the command alone, as a supervisor does."""
        self.process.send_signal(number)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Its exit status; negative if a signal ended it."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"no end after {seconds:g} s: {self.err[-3000:]}") from None

    def ended(self) -> int:
        """Wait for the end of the command, and of every process that it started."""
        status = self.wait()
        wait_until(lambda: not self.members(), "processes that outlive their run", PROMPT)
        return status


def sessions() -> Iterator[tuple[int, int]]:
    """Process and session id of every living process."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, _, _, session = (folder / "stat").read_text().rpartition(") ")[2].split()[:4]
            except OSError:
                continue
            if state not in "ZX":
                yield int(folder.name), int(session)


@contextmanager
def started(
    files: Path,
    *words: object,
    sabotage: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Run]:
    """Start ``overparam WORDS``; on leaving nothing of it is left."""
    files.mkdir(parents=True, exist_ok=True)
    variables = {**os.environ, **(environment or {})}
    if sabotage is not None:
        variables["SABOTAGE"] = json.dumps({"flag": str(files / "flag"), **sabotage})
        variables["PYTHONPATH"] = str(SABOTAGE)
    with (files / "out").open("wb") as out, (files / "err").open("wb") as err:
        process = subprocess.Popen(
            [*COMMAND, *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=ROOT,
            env=variables,
            start_new_session=True,
        )
    run = Run(process, files)
    try:
        yield run
    finally:
        run.kill()


def finished(files: Path, *words: object, **options: Any) -> tuple[int, Run]:
    """Run a command to its end: its status, and what it said."""
    with started(files, *words, **options) as run:
        return run.ended(), run


def words_for(store: Path, *more: object, study: str = STEADY) -> list[object]:
    """The words of a run with one worker."""
    return ["run", study, "--store", store, "--workers", 1, "--json", *more]


@dataclass
class Reference:
    """What the undisturbed run left, and what the disturbed ones are held against.

    Attributes:
        points: all points that it came by, in order.
        seconds: how long it took from its first touch of the store on.
    """

    store: Store
    run: dict[str, Any]
    points: list[str]
    seconds: float
    study: str
    more: tuple[object, ...]

    @classmethod
    def make(cls, folder: Path, *more: object, study: str = STEADY) -> "Reference":
        place, log = folder / "store", folder / "points"
        sabotage = {"root": str(place), "log": str(log)}
        words = words_for(place, *more, study=study)
        with started(folder / "run", *words, sabotage=sabotage) as run:
            wait_until(lambda: place.exists() or run.process.poll() is not None, "a start")
            began = time.monotonic()
            status = run.ended()
            seconds = time.monotonic() - began
        assert status == 0, run.err
        (row,) = run.runs
        points = log.read_text().splitlines()
        return cls(Store.open(place), row, points, seconds, study, more)

    def words(self, place: Path) -> list[object]:
        """The words of the same run on another store."""
        return words_for(place, *self.more, study=self.study)

    def assert_same(self, store: Store, run: Mapping[str, Any]) -> None:
        """The store holds what the undisturbed one holds, and the run says the same.

        Byte for byte; artifacts with volatile columns (of seconds) are compared without these. A
        run of which a worker was killed leaves one thing more: the report of what there was.
        """
        assert list(store.verify()) == []
        more = set(store.refs()) - set(self.store.refs())
        assert {ref.step for ref in more} <= {"report"}, more
        for ref in self.store.refs():
            mine, theirs = self.store.manifest(ref), store.manifest(ref)
            assert mine is not None and theirs is not None
            assert mine.volatile or hashes(mine) == hashes(theirs), ref
            assert equal_tables(self.store.read(ref), store.read(ref), volatile=mine.volatile), ref
        assert run["verdicts"] == self.run["verdicts"]
        assert {step["state"] for step in run["steps"]} <= {"completed", "cached"}
        assert Path(run["report"]).is_file()

    def assert_mends(self, place: Path, files: Path, tally: "Tally", *, here: bool = False) -> None:
        """Nothing is corrupt; a rerun completes, uses what is stored, and leaves what it should.

        Args:
            here: rerun in this process, which is quicker than one of its own.
        """
        store = Store.open(place)
        assert list(store.verify()) == []
        kept = {ref.key for ref in {*store.refs()} & {*self.store.refs()}}
        row = self._rerun_here(place) if here else self._rerun(place, files)
        self.assert_same(store, row)
        assert {step["key"] for step in row["steps"] if step["state"] == "cached"} == kept
        assert not (place / "quarantine").exists()
        tally.reruns += 1
        tally.kept += len(kept)

    def _rerun(self, place: Path, files: Path) -> dict[str, Any]:
        status, run = finished(files, *self.words(place))
        assert status == 0, run.err
        (row,) = run.runs
        return row

    def _rerun_here(self, place: Path) -> dict[str, Any]:
        from flows.study import study

        return study(self.study, "quick", {}, str(place), 1).to_dict()


def hashes(manifest: Manifest) -> dict[str, str]:
    """The SHA-256 of each table."""
    return {name: table.sha256 for name, table in manifest.tables.items()}


@dataclass
class Tally:
    """What a campaign did, for people."""

    kills: int = 0
    missed: list[str] = field(default_factory=list)
    reruns: int = 0
    kept: int = 0

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {len(self.missed)} not reached, {self.reruns} reruns completed, "
            f"{self.kept} artifacts survived and were used again"
        )


def spread(points: list[str], count: int) -> list[str]:
    """``count`` of the points: of every kind one before any two, the last ones before others."""
    kinds: dict[str, list[str]] = {}
    for point in points:
        kinds.setdefault(re.sub(r"#\d+$", "", point), []).append(point)
    chosen: list[str] = []
    for turn in range(max(map(len, kinds.values()))):
        left = [several[-1 - turn] for several in kinds.values() if turn < len(several)]
        room = count - len(chosen)
        chosen += left if len(left) <= room else [left[k * len(left) // room] for k in range(room)]
    return chosen
