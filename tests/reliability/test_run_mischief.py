"""A step that misbehaves fails its own cell, says what it was, and harms nothing else."""

import time
from pathlib import Path
from typing import Any

import pytest
from reliability.campaign import PATIENCE, ROOT, Run, started, words_for

from overparam.store import Store

MISCHIEF = str(ROOT / "tests" / "toys" / "mischief.py")
MEGABYTES = 100

SAID = {
    "shout": f"ValueError: a very long story: {'x' * 1000}",
    "mute": "Unspeakable: (its message raises an error itself)",
    "leak": "MemoryError (",
    "killed": "the worker process ended by signal 9 (out of memory?)",
    "quit": "SystemExit: had enough",
    "interrupt": "KeyboardInterrupt",
    "mixed": "table 'act', column 'value': holds Python objects of type float, str",
    "unlike": "table 'act': batch 1 has columns value: string, the first one value: double",
    "unnamed": "table name '../../escape' is not allowed",
    "nothing": "must give a table or a mapping of tables, not NoneType",
    "object": "table 'act', column 'value': holds Python objects of type type",
    "late": "ValueError: the second batch could not be made",
}
STALLS = ("hang", "deaf", "freeze")

# Bytes that the command may need more than a quiet run: far less than what is printed and said.
SPARE = 60 << 20


def watched(run: Run) -> int:
    """Wait for the end; returns the peak of the command's resident memory."""
    peak = 0
    deadline = time.monotonic() + PATIENCE
    while run.process.poll() is None and time.monotonic() < deadline:
        try:
            lines = Path(f"/proc/{run.process.pid}/status").read_text().splitlines()
        except OSError:
            continue
        found = [int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM")]
        peak = max(peak, *found, 0)
        time.sleep(0.05)
    run.wait()
    return peak


class Mischief:
    """One quiet run, and one in which nearly all cells misbehave."""

    def __init__(self, folder: Path) -> None:
        with started(folder / "quiet", *words_for(folder / "s", study=MISCHIEF)) as run:
            self.quiet = watched(run)
        assert run.process.returncode == 0, run.err
        words = [
            *("--set", "hows=" + ",".join(["fine", *SAID, "loud"])),
            *("--set", "stalls=" + ",".join([*STALLS, "fine"])),
            *("--set", f"megabytes={MEGABYTES}"),
        ]
        self.place = folder / "store"
        with started(folder / "run", *words_for(self.place, *words, study=MISCHIEF)) as run:
            self.peak = watched(run)
            run.ended()
        self.run = run
        (self.row,) = run.runs  # which is the first check: standard output is JSON alone
        self.steps = {(step["step"], *step["cell"].values()): step for step in self.row["steps"]}


@pytest.fixture(scope="module")
def mischief(prefect_api: str, tmp_path_factory: pytest.TempPathFactory) -> Mischief:
    return Mischief(tmp_path_factory.mktemp("mischief"))


@pytest.mark.parametrize("how", SAID)
def test_a_cell_fails_and_says_study_step_cell_and_cause(mischief: Mischief, how: str) -> None:
    step = mischief.steps["act", how]
    first, _, second = step["error"].partition("\n")
    assert step["state"] == "failed"
    assert first.startswith(f"generate · mischief · act · how={how}: ") and SAID[how] in first
    assert second.startswith("Run again what is missing: overparam run ")


@pytest.mark.parametrize("how", STALLS)
def test_a_step_that_does_not_end_is_ended(mischief: Mischief, how: str) -> None:
    step = mischief.steps["rest", how]
    assert step["state"] == "failed"
    said = f"train · mischief · rest · stall={how}: ran longer than its time-out of 5 s and was"
    assert step["error"].startswith(said)


def test_the_others_finish(mischief: Mischief) -> None:
    assert mischief.run.process.returncode == 1
    for cell in (("act", "fine"), ("act", "loud"), ("rest", "fine"), ("survivors",), ("report",)):
        assert mischief.steps[cell]["state"] == "completed", mischief.steps[cell]["error"]
    assert mischief.steps["survivors",]["rows"] == 2
    store = Store.open(mischief.place)
    assert list(store.verify()) == []
    assert {ref.step for ref in store.refs()} == {"act", "rest", "survivors", "report"}
    assert not list(mischief.place.parent.rglob("escape*"))


def test_what_steps_print_goes_to_standard_error(mischief: Mischief) -> None:
    err = mischief.run.files / "err"
    assert err.stat().st_size > MEGABYTES << 20
    assert b"and a last word\n" in err.read_bytes()


def test_what_is_printed_and_said_is_not_kept_in_memory_or_on_record(mischief: Mischief) -> None:
    assert mischief.peak < mischief.quiet + SPARE
    assert len(mischief.steps["act", "shout"]["error"]) < 4000
    assert all(f.stat().st_size < 1 << 20 for f in mischief.place.rglob("*") if f.is_file())


def test_what_can_go_well_another_time_is_not_on_record_as_failed(mischief: Mischief) -> None:
    on_record = {file.stem for file in (mischief.place / "failures").rglob("*.json")}
    lasting = set(SAID) - {"leak", "killed"}
    wanted: dict[str, Any] = {how: mischief.steps["act", how]["key"] for how in lasting}
    assert on_record == set(wanted.values())
