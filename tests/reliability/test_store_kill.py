"""A writer that is killed leaves a whole artifact or none, and the next one completes."""

import multiprocessing
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from overparam.store import ArtifactRef, Store, equal_tables
from overparam.store._points import POINTS

REF = ArtifactRef("study", "step", "0123456789abcdef")

# Run in a process of its own; text, because that process can't import this file.
WRITER = """
import os
if kill_at:
    os.environ["OVERPARAM_KILL_AT"] = kill_at
import numpy, pyarrow
from overparam.store import ArtifactRef, Store
def batches():
    for start in range(0, 40_000, 10_000):
        yield pyarrow.record_batch({"x": numpy.arange(start, start + 10_000) * float(version)})
if start is not None:
    start.set()
Store.open(root).write(
    ArtifactRef("study", "step", "0123456789abcdef"),
    {"first": batches(), "second": batches()},
    meta={"version": version},
)
"""


def expected(version: int) -> dict[str, pd.DataFrame]:
    frame = pd.DataFrame({"x": np.arange(40_000) * float(version)})
    return {"first": frame, "second": frame}


@pytest.fixture(scope="module")
def processes() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "overparam.store", "pyarrow.parquet", "numpy"])
    return context


def write(
    processes: Any,
    root: Path,
    version: int,
    *,
    kill_at: str | None = None,
    after: float | None = None,
) -> int:
    """Run a writer, kill it `after` seconds of writing if that is given; returns how it ended."""
    start = processes.Event() if after is not None else None
    names = {"root": str(root), "version": version, "kill_at": kill_at, "start": start}
    process = processes.Process(target=exec, args=(WRITER, names))
    process.start()
    if after is not None:
        assert start.wait(30)
        time.sleep(after)
        process.kill()
    process.join(30)
    assert process.exitcode is not None
    return process.exitcode


def assert_whole(root: Path, *versions: int | None) -> None:
    """The artifact is one of `versions` in every byte; None stands for there being none."""
    store = Store.open(root)
    assert store.damaged(REF) is None
    manifest = store.manifest(REF)
    if manifest is None:
        assert None in versions
        assert list(store.refs()) == []
        return
    version = manifest.meta["version"]
    assert version in versions
    assert list(store.verify()) == []
    assert equal_tables(store.read(REF), expected(int(str(version))))


@pytest.mark.parametrize(
    ("point", "before"),
    [
        *((point, None) for point in POINTS),
        ("half", 1),
        ("manifest-before", 1),
        ("manifest-after", 1),
    ],
)
def test_killed_at_a_named_point(
    processes: Any, tmp_path: Path, point: str, before: int | None
) -> None:
    store = Store.open(tmp_path)
    if before is not None:
        store.write(REF, expected(before), meta={"version": before})
    turn = "2" if point.startswith(("open", "half", "table")) else "1"
    assert write(processes, tmp_path, 2, kill_at=f"{point}:{turn}") == -signal.SIGKILL
    # only the manifest's replacement makes the new version exist
    assert_whole(tmp_path, 2 if point == "manifest-after" else before)
    assert write(processes, tmp_path, 3) == 0
    assert_whole(tmp_path, 3)


def moments(processes: Any, root: Path, count: int) -> None:
    began = time.monotonic()
    assert write(processes, root, 1) == 0
    longest = time.monotonic() - began
    rng = np.random.Generator(np.random.Philox(key=count))
    alive = 1
    for version in range(2, 2 + count):
        code = write(processes, root, version, after=float(rng.uniform(0, longest)))
        assert code in (0, -signal.SIGKILL)
        assert_whole(root, *([version] if code == 0 else [alive, version]))
        manifest = Store.open(root).manifest(REF)
        assert manifest is not None
        alive = int(str(manifest.meta["version"]))
    assert write(processes, root, 99) == 0
    assert_whole(root, 99)


def test_killed_at_five_random_moments(processes: Any, tmp_path: Path) -> None:
    moments(processes, tmp_path, 5)


@pytest.mark.slow
def test_killed_at_fifty_random_moments(processes: Any, tmp_path: Path) -> None:
    moments(processes, tmp_path, 50)


def test_without_the_variable_nobody_dies(processes: Any, tmp_path: Path) -> None:
    assert write(processes, tmp_path, 1) == 0
    assert write(processes, tmp_path, 2, kill_at="half:1000") == 0
    assert_whole(tmp_path, 2)
