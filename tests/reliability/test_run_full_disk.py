"""A store that fills up or turns read-only in mid-run: the run says so, and goes on later.

Refusals are made from outside by sabotage, at a named point of each stage; where this may mount, a
small file system of its own fills up and is made read-only for real.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from reliability.campaign import Reference, Run, Tally, started, wait_until, words_for

from overparam.store import Store

WORDS = {"full": "no space left", "readonly": "can't be written to: Read-only file system"}

QUICK = (
    ("full", "worker fsync artifacts/steady/points/KEY/.noise.tmp before#1"),
    ("readonly", "worker open artifacts/steady/pruned/KEY/.manifest.tmp before#1"),
)
STAGES = (
    "worker mkdir artifacts/steady/points before#1",
    "worker open scratch/KEY/.tensors.tmp after#2",
    "worker rename scratch/KEY/checkpoint.json before#2",
    "worker fsync artifacts/steady/fitted/KEY/.net.tmp before#1",
    "worker rename artifacts/steady/pruned/KEY/pruned.parquet after#2",
    "worker open artifacts/steady/errors/KEY/.errors.tmp before#1",
    "parent open artifacts/steady/report/KEY/.figures.tmp before#1",
    "parent fsync artifacts/steady/report/KEY/.manifest.tmp before#1",
    "parent rename reports/steady/quick.html before#1",
    "parent open pins/.page-steady-quick.tmp before#1",
)
AT_THE_END = ("parent open runs/.ID.tmp before#1", "parent rename runs/ID.json before#1")

ROWS = ("--set", "rows=20000")
TMPFS = 16 << 20


def refused(reference: Reference, folder: Path, do: str, point: str) -> tuple[Run, int]:
    place = folder / "store"
    sabotage = {"root": str(place), "at": point, "do": do}
    with started(folder / "run", *reference.words(place), sabotage=sabotage) as run:
        status = run.ended()
    assert (folder / "run" / "flag").exists(), f"{point} was not reached"
    assert "Traceback" not in run.err
    return run, status


def assert_told(run: Run, do: str) -> None:
    """Who could not write says where and why; the rest is skipped because of it."""
    (row,) = run.runs
    failed = [step for step in row["steps"] if step["state"] == "failed"]
    assert failed and all(step["error"] for step in failed)
    assert any(WORDS[do] in step["error"] and "--store" in step["error"] for step in failed)


def try_refusal(reference: Reference, folder: Path, do: str, point: str) -> None:
    run, status = refused(reference, folder, do, point)
    assert status == 1, run.err
    assert_told(run, do)
    assert not (folder / "store" / "failures").exists()  # the steps did nothing wrong
    reference.assert_mends(folder / "store", folder / "again", Tally())


@pytest.mark.parametrize(("do", "point"), QUICK)
def test_writing_is_refused(reference: Reference, tmp_path: Path, do: str, point: str) -> None:
    try_refusal(reference, tmp_path, do, point)


@pytest.mark.slow
@pytest.mark.parametrize("do", WORDS)
@pytest.mark.parametrize("point", STAGES)
def test_writing_is_refused_at_every_stage(
    reference: Reference, tmp_path: Path, do: str, point: str
) -> None:
    try_refusal(reference, tmp_path, do, point)


@pytest.mark.parametrize("point", AT_THE_END)
@pytest.mark.slow
def test_only_the_record_of_the_run_can_not_be_written(
    reference: Reference, tmp_path: Path, point: str
) -> None:
    run, status = refused(reference, tmp_path, "full", point)
    assert status == 2 and WORDS["full"] in run.err
    reference.assert_mends(tmp_path / "store", tmp_path / "again", Tally())


# a file system of its own


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS}", "overparam-test", str(place)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this may not mount a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="module")
def larger(prefect_api: str, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """The undisturbed run of artifacts that are larger than a page of the file system."""
    return Reference.make(tmp_path_factory.mktemp("larger"), *ROWS)


def fill(disk: Path, free: int) -> Path:
    ballast = disk / "ballast"
    status = os.statvfs(disk)
    with ballast.open("wb") as file:
        file.write(bytes(status.f_bavail * status.f_frsize - free))
    return ballast


def try_disk(larger: Reference, disk: Path, folder: Path, free: int) -> set[str]:
    """Run on a disk with so much room, then with enough; returns the steps that had none."""
    place = disk / "store"
    ballast = fill(disk, free)
    with started(folder / "run", *larger.words(place)) as run:
        status = run.ended()
    assert status == 1 and "Traceback" not in run.err, run.err
    assert_told(run, "full")
    (row,) = run.runs
    ballast.unlink()
    larger.assert_mends(place, folder / "again", Tally())
    return {step["step"] for step in row["steps"] if WORDS["full"] in step["error"]}


def test_a_disk_that_fills_up(larger: Reference, disk: Path, tmp_path: Path) -> None:
    assert "fitted" in try_disk(larger, disk, tmp_path, 400_000)


@pytest.mark.slow
def test_a_disk_that_fills_up_at_every_stage(larger: Reference, disk: Path, tmp_path: Path) -> None:
    files = [f for f in Path(str(larger.store.artifacts)).rglob("*") if f.is_file()]
    whole = sum(file.stat().st_size for file in files)
    met: set[str] = set()
    for number in range(12):
        free = 60_000 + whole * number // 12
        met |= try_disk(larger, disk, tmp_path / str(number), free)
        subprocess.run(["find", str(disk), "-mindepth", "1", "-delete"], check=True)
    assert met == {"points", "fitted", "pruned", "errors", "report"}


@pytest.mark.slow
def test_a_disk_that_turns_read_only(prefect_api: str, disk: Path, tmp_path: Path) -> None:
    hold, place = tmp_path / "hold", disk / "store"
    words = words_for(place, "--set", f"hold={hold}")
    hold.touch()

    def remounted(how: str) -> bool:
        """Refused while a file is open for writing."""
        command = ["mount", "-o", f"remount,{how}", str(disk)]
        return not subprocess.run(command, capture_output=True, check=False).returncode

    with started(tmp_path / "run", *words) as run:
        reached = hold.with_suffix(".reached")
        wait_until(lambda: reached.exists() or run.process.poll() is not None, "the hold")
        wait_until(lambda: remounted("ro"), "no open files")
        hold.unlink()
        status = run.ended()
    assert status == 1 and "Traceback" not in run.err, run.err
    assert_told(run, "readonly")
    assert remounted("rw")
    assert list(Store.open(place).verify()) == []
    Reference.make(tmp_path / "undisturbed", "--set", f"hold={hold}").assert_mends(
        place, tmp_path / "again", Tally()
    )
